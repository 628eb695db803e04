//! `TFTRACE_CHECK_UNWIND=N`: every Nth stack is unwound in full and by the `backtrace` crate too, and its Python
//! frames are all walked.
//!
//! The counters of the trace say how many were checked and how many differ. Needs more of the
//! host's stack than tracing does: a tool for tests, not for production.

use core::sync::atomic::{AtomicU32, Ordering};

use tftrace_format::counters::Counter;

use super::kept_frame::{KeptFrame, Walked};
use super::{slow_unwinder, unwind};
use crate::arch::EntryRegisters;
use crate::python;
use crate::thread::guard::HookEntry;

static SEEN: AtomicU32 = AtomicU32::new(0);

/// Whether it is this stack's turn; counts it then.
fn is_its_turn(entry: &HookEntry) -> bool {
    let process = entry.process();
    let turn = SEEN.fetch_add(1, Ordering::Relaxed).checked_rem(process.settings.check_unwind);
    let is_its_turn = turn == Some(0) && !entry.nested();
    if is_its_turn {
        process.spool.count(Counter::UnwindChecked, 1);
    }
    is_its_turn
}

/// Checks the lane's kept Python frames, if it is their turn.
#[cold]
pub(super) fn python_every_so_often(entry: &mut HookEntry) {
    if is_its_turn(entry) {
        check_python(entry);
    }
}

fn check_python(entry: &mut HookEntry) {
    if python::kept_frames_differ(entry) {
        let process = entry.process();
        process.spool.count(Counter::UnwindIncrementalDiffers, 1);
        process.note(&[b"Python frames differ from a whole walk"]);
    }
}

/// Checks the lane's kept stack, if it is this one's turn.
#[cold]
pub(super) fn every_so_often(entry: &mut HookEntry, registers: EntryRegisters) {
    if !is_its_turn(entry) {
        return;
    }
    check_python(entry);
    let process = entry.process();
    let mut full = Comparison::new(entry);
    let mut matches = true;
    unwind::walk(entry, registers, |frame| matches &= full.is_next(frame));
    if !matches || full.left != 0 {
        process.spool.count(Counter::UnwindIncrementalDiffers, 1);
        report(entry, b"full unwinding", &full);
    }
    let mut oracle = Comparison::new(entry);
    let mut matches = true;
    slow_unwinder::frames(entry, registers, |address| {
        // The crate may add a frame of address 0 behind the root.
        matches &= address == 0 || oracle.is_next_address(address);
    });
    if !matches || oracle.left != 0 {
        process.spool.count(Counter::UnwindBacktraceDiffers, 1);
        report(entry, b"the backtrace crate", &oracle);
    }
}

fn report(entry: &HookEntry, with: &[u8], comparison: &Comparison) {
    let mut room = [0u8; 64];
    let mut writer = HexWriter { room: &mut room, len: 0 };
    for value in
        [comparison.len as u64, comparison.left as u64, comparison.expected, comparison.found]
    {
        writer.number(value);
    }
    let len = writer.len;
    let numbers = room.get(..len).unwrap_or_default();
    entry.process().note(&[
        b"a stack differs from ",
        with,
        b": frames, frames left, expected, found:",
        numbers,
    ]);
}

struct HexWriter<'a> {
    room: &'a mut [u8],
    len: usize,
}

impl HexWriter<'_> {
    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.room.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn number(&mut self, value: u64) {
        self.byte(b' ');
        let digits = (64 - value.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let nibble = (value >> (digit * 4) & 15) as u8;
            self.byte(if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 });
        }
    }
}

/// Goes through the kept stack from the leaf to the root.
struct Comparison {
    frames: *const KeptFrame,
    len: usize,
    left: usize,
    /// The first pair of addresses that differ.
    expected: u64,
    found: u64,
}

impl Comparison {
    fn new(entry: &mut HookEntry) -> Self {
        let kept = &entry.lane().kept;
        let frames = kept.get(0).map_or(core::ptr::null(), core::ptr::from_ref);
        Self { frames, len: kept.len(), left: kept.len(), expected: 0, found: 0 }
    }

    fn next(&mut self) -> Option<&KeptFrame> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: `left` is below the length that the kept stack had, which does not change while
        // it is compared: the lane is in use by this hook.
        Some(unsafe { &*self.frames.wrapping_add(self.left) })
    }

    fn is_next(&mut self, frame: &Walked) -> bool {
        let found = frame.address;
        let same = self.next().map(|kept| (kept.is_same_place(frame), kept.address));
        self.note(same, found)
    }

    fn is_next_address(&mut self, found: u64) -> bool {
        let same = self.next().map(|kept| (kept.address == found, kept.address));
        self.note(same, found)
    }

    fn note(&mut self, same: Option<(bool, u64)>, found: u64) -> bool {
        let (same, expected) = same.unwrap_or((false, 0));
        if !same && self.found == 0 {
            (self.expected, self.found) = (expected, found);
        }
        same
    }
}
