//! When temporaries were: how many of a call stack were folded in a window, as far as the trace says so.

use tftrace_format::StackId;

/// So many entries are not put together before they are twice as many.
const FEW: usize = 1 << 16;

/// Temporaries of a call stack in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    stack: u32,
    window: u32,
    count: u64,
}

/// Those of all call stacks.
#[derive(Clone, Debug, Default)]
pub(super) struct Folded {
    /// In any order, until they are sorted.
    entries: Vec<Entry>,
    /// How many entries there were when they were last put together.
    known: usize,
}

impl Folded {
    /// Adds some, in a window.
    pub(super) fn add(&mut self, stack: StackId, window: usize, count: u64) {
        self.entries.push(Entry { stack: stack.get(), window: window as u32, count });
        if self.entries.len() > 2 * self.known.max(FEW) {
            self.put_together();
        }
    }

    /// The same, to be read.
    pub(super) fn sorted(mut self) -> Self {
        self.put_together();
        self.entries.shrink_to_fit();
        self
    }

    /// Gives every window a new number, in the same order, and makes those of one number one.
    pub(super) fn renumber(&mut self, numbers: &[u16]) {
        for entry in &mut self.entries {
            let number = numbers.get(entry.window as usize).copied();
            entry.window = number.map_or(entry.window, u32::from);
        }
        self.put_together();
    }

    /// Makes entries of one call stack and window one, and sorts them.
    fn put_together(&mut self) {
        self.entries.sort_unstable_by_key(|entry| (entry.stack, entry.window));
        self.entries.dedup_by(|next, sum| {
            let same = (next.stack, next.window) == (sum.stack, sum.window);
            if same {
                sum.count = sum.count.saturating_add(next.count);
            }
            same
        });
        self.known = self.entries.len();
    }

    /// Call stacks with any, sorted.
    pub(super) fn stacks(&self) -> impl Iterator<Item = StackId> + '_ {
        let of_one = self.entries.chunk_by(|a, b| a.stack == b.stack);
        of_one.filter_map(|entries| StackId::new(entries.first()?.stack))
    }

    /// How many of a call stack there were, by window, sorted.
    pub(super) fn of(&self, stack: StackId) -> impl Iterator<Item = (usize, u64)> + '_ {
        let from = self.entries.partition_point(|entry| entry.stack < stack.get());
        let own = self.entries[from..].iter().take_while(move |entry| entry.stack == stack.get());
        own.map(|entry| (entry.window as usize, entry.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporaries_are_added_up_by_call_stack_and_window() {
        let stack = |number| StackId::new(number).unwrap();
        let mut folded = Folded::default();
        let adds = [(7, 0, 4), (3, 0, 8), (7, 0, 4), (7, 5, 2), (3, 9, 1)];
        for (number, window, count) in adds {
            folded.add(stack(number), window, count);
        }
        let of = |folded: &Folded, number| folded.of(stack(number)).collect::<Vec<_>>();
        let mut sorted = folded.clone().sorted();
        assert_eq!(of(&sorted, 7), [(0, 8), (5, 2)]);
        assert_eq!(of(&sorted, 3), [(0, 8), (9, 1)]);
        assert_eq!(of(&sorted, 4), []);
        assert_eq!(sorted.stacks().collect::<Vec<_>>(), [stack(3), stack(7)]);
        sorted.renumber(&[0, 0, 0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(of(&sorted, 7), [(0, 10)]);
        assert_eq!(of(&sorted, 3), [(0, 8), (1, 1)]);
        folded.renumber(&[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
        folded.add(stack(7), 2, 1);
        assert_eq!(of(&folded.sorted(), 7), [(0, 8), (2, 3)]);
    }

    #[test]
    fn what_is_added_again_and_again_takes_no_more_room() {
        let mut folded = Folded::default();
        for at in 0..10 * FEW {
            folded.add(StackId::new(1).unwrap(), at % 3, 1);
        }
        assert!(folded.entries.capacity() <= 4 * FEW, "{}", folded.entries.capacity());
        let folded = folded.sorted();
        let counts = folded.of(StackId::new(1).unwrap()).map(|(_, count)| count);
        assert_eq!(counts.sum::<u64>(), 10 * FEW as u64);
    }
}
