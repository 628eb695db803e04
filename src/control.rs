//! The word in page 1 through which another process asks the tracer to record, or not to.
//!
//! Its lower half is written by whoever asks (`tftrace ctl`), its upper half by the tracer, which
//! looks at the whole with every event. All zeros: recording, and asked to.

use crate::counters::COUNTERS_PAGE;
use crate::page::{PAGE_BYTES, u32_at};

/// Where the word stands in the file, in bytes: far from the counters, so that counting does not
/// take the word's cache line away from those who only read it.
pub const CONTROL_OFFSET: usize = COUNTERS_PAGE * PAGE_BYTES + PAGE_BYTES / 2;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Request {
    /// Record.
    Record = 0,
    /// Do not.
    Pause = 1,
}

/// What the tracer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// Recording.
    Recording = 0,
    /// Not recording.
    Paused = 1,
    /// A thread is just turning it on or off.
    Turning = 2,
}

/// Both halves of the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// The lower half.
    pub request: Request,
    /// The upper half.
    pub state: State,
}

impl Control {
    /// Recording, and asked to: what a tracer begins with.
    pub const RECORDING: Self = Self { request: Request::Record, state: State::Recording };
    /// Not recording, and not asked to: `TFTRACE_START=off`.
    pub const PAUSED: Self = Self { request: Request::Pause, state: State::Paused };

    /// The word.
    pub const fn to_wire(self) -> u64 {
        (self.state as u64) << 32 | self.request as u64
    }

    /// Any word: what is unknown counts as paused, because recording is what costs.
    pub const fn from_wire(word: u64) -> Self {
        let request = if word as u32 == 0 { Request::Record } else { Request::Pause };
        let state = match word >> 32 {
            0 => State::Recording,
            2 => State::Turning,
            _ => State::Paused,
        };
        Self { request, state }
    }

    /// From the first bytes of a trace file.
    pub fn of_file(bytes: &[u8]) -> Self {
        let halves = [u32_at(bytes, CONTROL_OFFSET), u32_at(bytes, CONTROL_OFFSET + 4)];
        Self::from_wire(u64::from(halves[1]) << 32 | u64::from(halves[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_and_zeros_mean_recording() {
        for request in [Request::Record, Request::Pause] {
            for state in [State::Recording, State::Paused, State::Turning] {
                let control = Control { request, state };
                assert_eq!(Control::from_wire(control.to_wire()), control);
            }
        }
        assert_eq!(Control::RECORDING.to_wire(), 0);
    }
}
