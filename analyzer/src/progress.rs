//! A bar on stderr while a long pass runs.
//!
//! Draws only when stderr is a terminal, and leaves nothing behind.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One pass over something whose length is known.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Begins a pass: what it does, and how many steps it has.
    pub fn begin(what: &'static str, steps: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let target = ProgressDrawTarget::stderr_with_hz(8);
        let bar = ProgressBar::with_draw_target(Some(steps), target).with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {percent} % {eta}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Says how many steps are done.
    pub fn at(&self, step: u64) {
        self.0.set_position(step);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
