//! Who may have started a thread: what other threads allocated shortly before its first event.
//!
//! A thread's own first allocations have no function of the user's on their stack. The call that
//! starts a thread allocates too, in the thread that makes it.

use rustc_hash::FxHashMap;
use tftrace_format::StackId;

/// So many allocations are remembered.
const REMEMBERED: usize = 24;

/// The last allocations, and those before each thread's first event.
#[derive(Clone, Debug, Default)]
pub(super) struct Starters {
    last: [(u32, Option<StackId>); REMEMBERED],
    next: usize,
    of_thread: FxHashMap<u32, Vec<StackId>>,
    of_stack: FxHashMap<StackId, u32>,
    /// The thread that did something last.
    current: Option<u32>,
}

impl Starters {
    /// A thread did something.
    pub(super) fn seen(&mut self, thread: u32) {
        if self.current == Some(thread) {
            return;
        }
        self.current = Some(thread);
        if self.of_thread.contains_key(&thread) {
            return;
        }
        let newest_first =
            (1..=REMEMBERED).map(|back| self.last[(self.next + REMEMBERED - back) % REMEMBERED]);
        let others = newest_first.filter(|(by, _)| *by != thread).filter_map(|(_, stack)| stack);
        self.of_thread.insert(thread, others.collect());
    }

    /// A thread allocated; whether it may be the first to do so with this stack.
    pub(super) fn allocated(&mut self, thread: u32, stack: Option<StackId>, is_new: bool) {
        self.last[self.next] = (thread, stack);
        self.next = (self.next + 1) % REMEMBERED;
        if let Some(stack) = stack.filter(|_| is_new) {
            self.of_stack.entry(stack).or_insert(thread);
        }
    }

    /// What others allocated before the thread began that was the first with this stack; newest first.
    pub(super) fn before(&self, stack: StackId) -> &[StackId] {
        let thread = self.of_stack.get(&stack);
        thread.and_then(|thread| self.of_thread.get(thread)).map_or(&[], Vec::as_slice)
    }
}
