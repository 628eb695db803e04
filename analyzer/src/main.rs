//! `tftrace-analyze`: turns an outcome into an exit code and one line on stderr.

use std::process::ExitCode;

use clap::Parser;
use tftrace_analyzer::cli::Cli;
use tftrace_analyzer::{Error, commands};

fn main() -> ExitCode {
    match commands::run(&Cli::parse()) {
        Ok(outcome) => ExitCode::from(outcome.code()),
        // Whoever read our output has seen enough, as `head` does.
        Err(Error::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            anstream::eprintln!("tftrace-analyze: {error}");
            ExitCode::FAILURE
        }
    }
}
