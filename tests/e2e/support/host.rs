//! A program that is run twice, without and with the tracer, and what both runs did.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::build;
use super::trace::Trace;

/// A program that has not ended by then hangs.
const PATIENCE: Duration = Duration::from_secs(240);

/// A program to be traced.
#[derive(Debug)]
pub(crate) struct Host {
    program: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    preloads: Vec<PathBuf>,
    first_preload: Option<PathBuf>,
    read_only: bool,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The exit code, or -n if signal n ended the program.
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| -self.status.signal().unwrap_or(0))
    }
}

impl Host {
    /// A C program from `tests/programs`.
    pub(crate) fn c(source: &str) -> Self {
        Self::program(build::compile(source, &[]))
    }

    /// Any program.
    pub(crate) fn program(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            variables: Vec::new(),
            preloads: Vec::new(),
            first_preload: None,
            read_only: false,
        }
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_string_lossy().into_owned());
        self
    }

    /// Sets a variable, in both runs.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Preloads a library behind the tracer, and in the run without it.
    pub(crate) fn preload(mut self, library: &Path) -> Self {
        self.preloads.push(library.to_path_buf());
        self
    }

    /// Preloads a library before the tracer, and in the run without it.
    pub(crate) fn preload_before(mut self, library: &Path) -> Self {
        self.first_preload = Some(library.to_path_buf());
        self
    }

    /// Runs in a directory that nobody can write to.
    pub(crate) fn in_unwritable_directory(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Runs the program without the tracer, then with it.
    pub(crate) fn trace(self) -> Trace {
        let directory = tempfile::tempdir().unwrap();
        let [plain, traced] = ["plain", "traced"].map(|name| directory.path().join(name));
        std::fs::create_dir(&plain).unwrap();
        std::fs::create_dir(&traced).unwrap();
        // Even root cannot write there.
        let unwritable = self.read_only.then_some(Path::new("/proc"));
        let plain = self.run(unwritable.unwrap_or(&plain), None);
        let library = build::tools().library.as_path();
        let traced_run = self.run(unwritable.unwrap_or(&traced), Some(library));
        Trace::new(plain, traced_run, traced, directory)
    }

    fn run(&self, directory: &Path, library: Option<&Path>) -> Outcome {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(directory);
        clean_environment(&mut command);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let preloads: Vec<_> = self
            .first_preload
            .as_deref()
            .into_iter()
            .chain(library)
            .chain(self.preloads.iter().map(PathBuf::as_path))
            .collect();
        if !preloads.is_empty() {
            let texts: Vec<_> = preloads.iter().map(|path| path.display().to_string()).collect();
            command.env("LD_PRELOAD", texts.join(":"));
        }
        finish(&mut command)
    }
}

/// What cargo and a user's shell set is no part of a test.
pub(crate) fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("TFTRACE_") || name.starts_with("CARGO") || name.starts_with("LD_") {
            command.env_remove(name.as_ref());
        }
    }
}

/// Runs a command to its end; one that does not end is killed, and the test fails.
pub(crate) fn finish(command: &mut Command) -> Outcome {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = child.id().to_string();
    let (done, watch) = mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        let late = watch.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
        }
        late
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    assert!(!watcher.join().unwrap(), "{command:?}: no end in {PATIENCE:?}");
    Outcome {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
