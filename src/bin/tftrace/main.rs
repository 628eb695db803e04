//! `tftrace`: starts a program under the tracer, and switches recording on and off while it runs.
//!
//! Says in one line why a program cannot be traced. Never reads a trace: `tftrace-analyze` does.
#![forbid(unsafe_code)]

mod control;
mod elf_check;
mod library;
mod options;
mod program;
mod run;

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;

use clap::Parser;

use options::{Action, Options};

fn main() -> ExitCode {
    match start(Options::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("tftrace: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(options: Options) -> Result<u8, run::LaunchError> {
    match options.action {
        Some(Action::Run(options)) => run::run(&library::beside_this_program()?, &options),
        Some(Action::Ctl { pid, action }) => Ok(control::run(pid, action)?),
        None => {
            let library = library::beside_this_program()?;
            let line = [library.as_os_str().as_bytes(), b"\n"].concat();
            // A reader that has gone away has got what it wanted.
            let _ = std::io::stdout().write_all(&line);
            Ok(0)
        }
    }
}
