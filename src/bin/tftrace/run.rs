//! Runs the program under the tracer and passes signals in, and its exit status out.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::control::ControlError;
use crate::elf_check::{self, Untraceable};
use crate::library::LibraryError;
use crate::options::{Children, RunOptions, Start};
use crate::program::{self, NoProgram};

/// What stands in for PATH where there is none, as in the C library.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Why the program did not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    /// There is nothing to preload.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// There is nothing to run.
    #[error(transparent)]
    NoProgram(#[from] NoProgram),
    /// It would run, but not under the tracer.
    #[error("{}: cannot be traced: it {reason}", image.display())]
    Untraceable {
        /// The file with the machine code.
        image: PathBuf,
        /// Why.
        reason: Untraceable,
    },
    /// The kernel refuses.
    #[error("{}: cannot be run: {error}", image.display())]
    Refused {
        /// The file with the machine code.
        image: PathBuf,
        /// What the kernel says.
        error: io::Error,
    },
    /// Another process cannot be controlled.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Signals or the end of the program cannot be waited for.
    #[error("cannot wait for the program: {0}")]
    Wait(io::Error),
}

impl LaunchError {
    /// As `env` and `timeout` have it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            LaunchError::NoProgram(NoProgram::NotFound(_)) => 127,
            LaunchError::NoProgram(_)
            | LaunchError::Untraceable { .. }
            | LaunchError::Refused { .. } => 126,
            LaunchError::Library(_) | LaunchError::Wait(_) => 125,
            LaunchError::Control(_) => 1,
        }
    }
}

/// Runs the program to its end; gives its exit status, or 128 + n for signal n.
pub(crate) fn run(library: &Path, options: &RunOptions) -> Result<u8, LaunchError> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let program = program::find(&options.command, &path)?;
    let image = &program.image;
    elf_check::check(image)
        .map_err(|reason| LaunchError::Untraceable { image: image.clone(), reason })?;
    if let Some(script) = program.shell_of
        && options.children.is_none()
    {
        eprintln!(
            "tftrace: {}: is a script of {}: of what it starts, programs of Python's and TensorFlow's are traced; all are with --children exec",
            script.display(),
            image.display()
        );
    }
    let (name, arguments) =
        program.command.split_first().ok_or_else(|| NoProgram::NotFound(PathBuf::new()))?;
    let mut command = Command::new(name);
    command.args(arguments).envs(environment(library, options));

    // Before the program starts, so that no signal falls between.
    let mut signals = Signals::new(watched_signals()).map_err(LaunchError::Wait)?;
    let child =
        command.spawn().map_err(|error| LaunchError::Refused { image: image.clone(), error })?;
    wait(child, &mut signals).map(exit_code).map_err(LaunchError::Wait)
}

fn environment(library: &Path, options: &RunOptions) -> Vec<(&'static str, OsString)> {
    let mut preload = library.as_os_str().to_os_string();
    if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
        preload.push(":");
        preload.push(others);
    }
    let mut environment = vec![("LD_PRELOAD", preload)];
    let mut set = |name, value: Option<&OsStr>| {
        environment.extend(value.map(|value| (name, value.to_os_string())));
    };
    set("TFTRACE_OUTPUT", options.output.as_deref().map(Path::as_os_str));
    set("TFTRACE_LOG", options.log.as_deref().map(Path::as_os_str));
    set("TFTRACE_DEPTH", options.depth.map(|depth| depth.to_string()).as_deref().map(OsStr::new));
    let children = options.children.map(|Children::Exec| OsStr::new("exec"));
    set("TFTRACE_CHILDREN", children);
    set("TFTRACE_PYTHON", options.no_python_blocks.then_some(OsStr::new("0")));
    let start = options.start.map(|start| match start {
        Start::On => OsStr::new("on"),
        Start::Off => OsStr::new("off"),
    });
    set("TFTRACE_START", start);
    environment
}

/// SIGCHLD, and the signals that concern the program and not us.
///
/// One that we were started to ignore (`nohup`) stays ignored, in the program too: watching it
/// would reset it there.
fn watched_signals() -> Vec<i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    [SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2]
        .into_iter()
        .filter(|signal| ignored & (1 << (signal - 1)) == 0)
        .chain([SIGCHLD])
        .collect()
}

fn wait(mut child: Child, signals: &mut Signals) -> io::Result<ExitStatus> {
    // A terminal sends these to the program itself: passing them on would interrupt it twice.
    let has_terminal = File::open("/dev/tty").is_ok();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        for signal in signals.wait() {
            let from_terminal = has_terminal && matches!(signal, SIGINT | SIGQUIT);
            if signal != SIGCHLD && !from_terminal {
                pass_on(&child, signal);
            }
        }
    }
}

fn pass_on(child: &Child, signal: i32) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
        // Not waited for yet, so the pid is still its own; a refusal (setuid) leaves nothing to do.
        let _ = kill_process(pid, signal);
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_s_exit_code_is_128_and_its_number() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
        assert_eq!(exit_code(ExitStatus::from_raw(11 | 0x80)), 139, "with a core dump");
    }

    #[test]
    fn only_what_was_asked_for_is_set() {
        let options = RunOptions {
            output: Some("t.%p".into()),
            depth: None,
            log: None,
            children: Some(Children::Exec),
            no_python_blocks: true,
            start: None,
            command: vec!["x".into()],
        };
        let set = environment(Path::new("/l/libtftrace.so"), &options);
        let names: Vec<_> = set.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["LD_PRELOAD", "TFTRACE_OUTPUT", "TFTRACE_CHILDREN", "TFTRACE_PYTHON"]);
        assert!(set[0].1.to_string_lossy().starts_with("/l/libtftrace.so"));
    }
}
