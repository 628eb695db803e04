//! What can be asked of `tftrace` on its command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Starts a program under the tftrace allocation tracer, and controls one that runs.
#[derive(Debug, Parser)]
#[command(name = "tftrace", version, arg_required_else_help = true)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Options {
    /// Print the path of the library for LD_PRELOAD, and end.
    #[arg(long, required = true)]
    pub(crate) print_lib: bool,
    #[command(subcommand)]
    pub(crate) action: Option<Action>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Run a program and trace its allocations.
    ///
    /// Ends with the program's exit status, or with 128 + n if signal n ended it. 127: there is no such
    /// program; 126: it cannot be run, or cannot be traced; 125: tftrace itself is not set up.
    Run(RunOptions),
    /// Switch the recording of a running process on or off, or look at its trace.
    ///
    /// The process must run under the tracer, and its trace file must be yours to write. It is sent no
    /// signal. A process that is started with `TFTRACE_START=off`, or `tftrace run --start off`, records
    /// nothing, at next to no cost, until it is told to.
    #[command(after_help = "\
Examples:
  tftrace run --start off -- python serve.py &
  tftrace ctl $! start     # once the service is warm
  tftrace ctl $! stop      # some thousand requests later
  tftrace-analyze trace.bin")]
    Ctl {
        /// The process id.
        pid: u32,
        /// What to do.
        action: ControlAction,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ControlAction {
    /// Record from now on. What is live already is not known and not counted.
    Start,
    /// Record nothing from now on.
    Stop,
    /// Wait until the trace is on the disk. Not needed to analyze it, nor against the end of the
    /// process: only against a crash of the machine.
    Flush,
    /// Say whether it records, into which file, and what was lost.
    Status,
}

/// Whether to record from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Start {
    /// Record at once.
    On,
    /// Wait for `tftrace ctl PID start`.
    Off,
}

/// What `tftrace run` can be told.
#[derive(Args, Debug)]
pub(crate) struct RunOptions {
    /// Where to write the trace; %p stands for the process id [default: trace.bin].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The most frames of a call stack [default: 1024].
    #[arg(long, value_name = "FRAMES", value_parser = clap::value_parser!(u16).range(8..))]
    pub(crate) depth: Option<u16>,
    /// Where the tracer writes what it has to say of itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Which programs to trace that the traced one starts: with `exec`, all that it executes.
    #[arg(long, value_name = "WHICH")]
    pub(crate) children: Option<Children>,
    /// Do not record Python's own blocks, small objects and all: cheaper, but a leak of Python objects
    /// is then arenas that nobody can be named for.
    #[arg(long)]
    pub(crate) no_python_blocks: bool,
    /// Whether to record from the beginning; off: wait for `tftrace ctl PID start` [default: on].
    #[arg(long, value_name = "WHEN")]
    pub(crate) start: Option<Start>,
    /// The program, then its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    #[arg(value_name = "PROGRAM")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Children {
    /// Trace every program that a traced program executes.
    Exec,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn options_of_the_program_are_left_to_it() {
        let options = Options::parse_from([
            "tftrace", "run", "--depth", "64", "--", "python", "--depth", "9",
        ]);
        let Some(Action::Run(run)) = options.action else { panic!("{options:?}") };
        assert_eq!(run.depth, Some(64));
        assert_eq!(run.command, ["python", "--depth", "9"]);

        let options = Options::parse_from(["tftrace", "run", "python", "-c", "1"]);
        let Some(Action::Run(run)) = options.action else { panic!("{options:?}") };
        assert_eq!(run.command, ["python", "-c", "1"]);
    }

    #[test]
    fn asking_for_nothing_is_refused() {
        assert!(Options::try_parse_from(["tftrace"]).is_err());
        assert!(Options::try_parse_from(["tftrace", "run"]).is_err());
        assert!(Options::try_parse_from(["tftrace", "--print-lib"]).is_ok());
    }
}
