//! Whether events are recorded just now: `TFTRACE_START`, and `tftrace ctl` from another process.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tftrace_format::control::{CONTROL_OFFSET, Control, Request, State};
use tftrace_format::record::Record;

use super::Process;
use crate::spool::file::SpoolFile;
use crate::thread::guard::HookEntry;

/// The word in the trace file.
#[derive(Debug)]
pub(crate) struct Switch(&'static AtomicU64);

/// How a child of `fork` begins: as its parent was.
static PAUSED: AtomicBool = AtomicBool::new(false);

/// Says how the first process begins.
pub(crate) fn begin_paused() {
    PAUSED.store(true, Ordering::Relaxed); // Nobody else is there yet.
}

impl Switch {
    /// The switch of a trace that is just made.
    pub(crate) fn new(file: &SpoolFile) -> Self {
        let place = file.base().wrapping_add(CONTROL_OFFSET).cast::<u64>();
        // SAFETY: inside page 1, which is ready and stays mapped; used by atomics only.
        let word = unsafe { AtomicU64::from_ptr(place) };
        if PAUSED.load(Ordering::Relaxed) {
            word.store(Control::PAUSED.to_wire(), Ordering::Relaxed);
        }
        Self(word)
    }

    /// Whether to record what the calling hook is about to.
    #[inline(always)]
    pub(crate) fn is_on(entry: &mut HookEntry) -> bool {
        // Relaxed: who asks does not wait for an event of any particular thread.
        let word = entry.process().switch.0.load(Ordering::Relaxed);
        word == Control::RECORDING.to_wire() || turn(entry, word)
    }
}

/// Not recording, or asked not to.
#[cold]
fn turn(entry: &mut HookEntry, word: u64) -> bool {
    let process = entry.process();
    let Control { request, state } = Control::from_wire(word);
    let on = match (request, state) {
        (Request::Record, State::Paused) => true,
        (Request::Pause, State::Recording) => false,
        (Request::Record, State::Recording) => return true,
        (_, State::Turning) | (Request::Pause, State::Paused) => return false,
    };
    let turning = Control { request, state: State::Turning }.to_wire();
    let claimed =
        process.switch.0.compare_exchange(word, turning, Ordering::AcqRel, Ordering::Relaxed);
    if claimed.is_err() {
        return false;
    }
    // Before anybody records: events of the new interval are later.
    note(
        process,
        on,
        |write| if entry.nested() { write() } else { entry.slot().on_own_stack(write) },
    );
    PAUSED.store(!on, Ordering::Relaxed);
    let state = if on { State::Recording } else { State::Paused };
    let difference = Control { request, state }.to_wire() ^ turning;
    // Release: who records sees the record written. The other half may have changed meanwhile.
    process.switch.0.fetch_xor(difference, Ordering::Release);
    on
}

/// Writes into the trace that recording begins or ends.
fn note(process: &Process, on: bool, call: impl FnOnce(&dyn Fn())) {
    let time = process.clock.now();
    call(&|| {
        process.log.record(&process.spool, time, &Record::Recording { time, on });
    });
}

/// Writes into a new trace that nothing is recorded yet, if so.
pub(super) fn note_pause(process: &Process) {
    if process.switch.0.load(Ordering::Relaxed) != Control::RECORDING.to_wire() {
        note(process, false, |write| write());
    }
}
