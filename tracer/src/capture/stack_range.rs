//! How far a stack may be read: never past the end of the stack that the stack pointer is on.

use crate::arch;
use crate::process::Process;
use crate::process::proc_file::{ProcFile, lines, map_range};

/// Addresses that belong to one stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StackRange {
    pub(super) start: u64,
    pub(super) end: u64,
}

impl StackRange {
    /// The range from `sp` to the end of the calling thread's own stack; `None` if `sp` is elsewhere.
    ///
    /// glibc keeps a thread's control block at the end of its stack; the main thread's end was
    /// read when the trace began.
    #[inline(always)]
    pub(super) fn of_thread(process: &Process, sp: u64) -> Option<Self> {
        let reach = process.stack_reach;
        let holds = |end: u64| end > sp && end - sp <= reach;
        let control_block = arch::thread_pointer();
        if holds(control_block) {
            return Some(Self { start: sp, end: control_block });
        }
        let end = process.main_stack_end;
        holds(end).then_some(Self { start: sp, end })
    }

    /// The mapping that `sp` is in, as the kernel knows it. Makes system calls.
    pub(super) fn ask_kernel(sp: u64) -> Option<(u64, u64)> {
        let maps = ProcFile::read(c"/proc/self/maps")?;
        lines(maps.bytes()).filter_map(map_range).find(|(start, end)| (*start..*end).contains(&sp))
    }

    /// Whether the eight bytes at `address` are inside.
    #[inline(always)]
    pub(super) fn holds_word(&self, address: u64) -> bool {
        address >= self.start
            && address.is_multiple_of(8)
            && address.wrapping_add(8) <= self.end
            && address < self.end
    }

    /// The word at an address, if it is inside.
    #[inline(always)]
    pub(super) fn read(&self, address: u64) -> Option<u64> {
        if !self.holds_word(address) {
            return None;
        }
        // SAFETY: between the stack pointer and the end of the stack it is on, which is mapped.
        Some(unsafe { (address as *const u64).read() })
    }
}
