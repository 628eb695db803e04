//! Shows a file in the browser: `$BROWSER` first, then what the desktop opens such files with.
//!
//! Never waits for a browser to end, and never lets it write where we write.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::numbers::plain;

/// What cannot open a file says so by ending at once. `xdg-open` asks a few programs before.
const PATIENCE: Duration = Duration::from_secs(1);

/// Opens a file that was written, if that can be done.
///
/// If nothing does, one line says for each program why: the file is there, which is what the exit code
/// says.
pub fn show(file: &Path) {
    if let Err(reasons) = open(file) {
        let shown = file.display();
        let line = format!("{shown}: --open: no browser: {reasons}: open the file by hand");
        let _ = writeln!(anstream::stderr(), "tftrace-analyze: {}", plain(&line));
    }
}

/// Opens `file`. If nothing does, says for each program why.
fn open(file: &Path) -> Result<(), String> {
    open_with(&std::env::var("BROWSER").unwrap_or_default(), "xdg-open", file, PATIENCE)
}

/// `browsers` is a list as `$BROWSER` holds it: commands with `:` between them.
fn open_with(browsers: &str, desktop: &str, file: &Path, patience: Duration) -> Result<(), String> {
    let path = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    let mut failures = Vec::new();
    for browser in browsers.split(':').chain([desktop]) {
        let Some(command) = command(browser, path.as_os_str()) else { continue };
        match start(command, patience) {
            Ok(()) => return Ok(()),
            Err(reason) => failures.push(format!("{}: {reason}", browser.trim())),
        }
    }
    Err(failures.join("; "))
}

/// The file replaces `%s`, or is the last argument. A command may be a path with spaces.
fn command(browser: &str, file: &OsStr) -> Option<Command> {
    let browser = browser.trim();
    let whole = Path::new(browser).is_file();
    let mut words = browser.split_whitespace();
    let mut command = Command::new(if whole { browser } else { words.next()? });
    let arguments: Vec<&str> = if whole { Vec::new() } else { words.collect() };
    for argument in &arguments {
        match *argument {
            "%s" => command.arg(file),
            argument => command.arg(argument),
        };
    }
    if !arguments.contains(&"%s") {
        command.arg(file);
    }
    Some(command)
}

fn start(mut command: Command, patience: Duration) -> Result<(), String> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Ctrl-C in our terminal is not meant for the browser.
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let (sender, receiver) = mpsc::channel::<io::Result<ExitStatus>>();
    thread::spawn(move || sender.send(child.wait()));
    match receiver.recv_timeout(patience) {
        Ok(Ok(status)) if !status.success() => Err(status.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        // It still runs: it is the browser itself, and has the file.
        Err(RecvTimeoutError::Timeout) | Ok(Ok(_)) => Ok(()),
        Err(RecvTimeoutError::Disconnected) => Err("it could not be waited for".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    const LONG: Duration = Duration::from_secs(60);

    struct Fakes(tempfile::TempDir);

    impl Fakes {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        /// A program that writes its arguments beside itself, then does what `then` says.
        fn browser(&self, name: &str, then: &str) -> String {
            let path = self.0.path().join(name);
            let seen = path.with_extension("seen");
            fs::write(&path, format!("echo \"$@\" > '{}'\n{then}\n", seen.display())).unwrap();
            // Read by a shell and not executed: a fork in another test may still have it open.
            format!("sh {}", path.display())
        }

        fn seen(&self, name: &str) -> Option<String> {
            fs::read_to_string(self.0.path().join(name).with_extension("seen")).ok()
        }
    }

    #[test]
    fn the_first_browser_that_works_gets_the_file_with_its_arguments() {
        let fakes = Fakes::new();
        let broken = fakes.browser("broken", "exit 3");
        let good = fakes.browser("good", "exit 0");
        let desktop = fakes.browser("desktop", "exit 0");
        let svg = PathBuf::from("/tmp/a graph.svg");
        let browsers = format!("no-such-program:{broken}:{good} --new %s --last");
        assert_eq!(open_with(&browsers, &desktop, &svg, LONG), Ok(()));
        assert_eq!(fakes.seen("broken").unwrap(), "/tmp/a graph.svg\n");
        assert_eq!(fakes.seen("good").unwrap(), "--new /tmp/a graph.svg --last\n");
        assert_eq!(fakes.seen("desktop"), None);
        assert_eq!(open_with("", &desktop, &svg, LONG), Ok(()));
        assert!(fakes.seen("desktop").is_some());
    }

    #[test]
    fn a_browser_whose_path_has_a_space_is_one_program() {
        let fakes = Fakes::new();
        let spaced = fakes.0.path().join("my browser");
        symlink("/bin/true", &spaced).unwrap();
        let opened = open_with(spaced.to_str().unwrap(), "", Path::new("x.svg"), LONG);
        assert_eq!(opened, Ok(()));
    }

    #[test]
    fn each_failure_has_its_reason() {
        let fakes = Fakes::new();
        let broken = fakes.browser("broken", "exit 3");
        let failure = open_with("no-such-program", &broken, Path::new("x.svg"), LONG).unwrap_err();
        let expected = format!("; {broken}: exit status: 3");
        assert!(failure.starts_with("no-such-program: No such file"), "{failure}");
        assert!(failure.ends_with(&expected), "{failure}");
        let seen = PathBuf::from(fakes.seen("broken").unwrap().trim_end());
        assert!(seen.is_absolute(), "a browser that runs already has another working directory");
    }

    /// A browser that stays in the foreground has the file; nobody waits until it is closed.
    #[test]
    fn a_browser_that_goes_on_is_success() {
        let fakes = Fakes::new();
        let pipe = fakes.0.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let then = format!("read line < '{}'; exit 1", pipe.display());
        let staying = fakes.browser("staying", &then);
        let at_once = Duration::from_millis(1);
        assert_eq!(open_with(&staying, "", Path::new("x.svg"), at_once), Ok(()));
        // Only now may it end.
        fs::write(&pipe, "closed\n").unwrap();
    }
}
