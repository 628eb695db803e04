//! Which of many events must stay, and which are an allocation and its free, of which a count is enough.
//!
//! Events come in the order of time. Never takes two events for a pair that are none: an event that was not
//! drained yet is shown too, and keeps its partner.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use tftrace_format::page_codec::PageThread;
use tftrace_format::totals::TemporaryKey;
use tftrace_format::{Domain, Event, Ticks};

/// A map that needs no random numbers of the system.
type Map<K, V> = HashMap<K, V, BuildHasherDefault<KeyHasher>>;

/// An event that stays, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) thread: PageThread,
    pub(super) event: Event,
}

/// A block that lives.
#[derive(Debug)]
enum Live {
    /// Its allocation was drained.
    Drained(Kept),
    /// Its allocation stands in a page that was not.
    Elsewhere,
}

/// What is left of them.
#[derive(Debug)]
pub(super) struct Folded {
    /// Events that stay, by thread and time.
    pub(super) kept: Vec<Kept>,
    /// How often there was what was folded, now or before, by stack.
    pub(super) totals: Vec<(TemporaryKey, u64)>,
    /// How many pairs were folded now.
    pub(super) pairs: u64,
}

/// Events, sorted out.
#[derive(Debug)]
pub(super) struct Fold {
    /// No pair is folded whose free is later: an allocation in between may not have been shown.
    horizon: Ticks,
    live: Map<(Domain, u64), Live>,
    kept: Vec<Kept>,
    totals: Map<TemporaryKey, u64>,
    folded: u64,
}

impl Fold {
    pub(super) fn new(horizon: Ticks) -> Self {
        let (live, totals) = (Map::default(), Map::default());
        Self { horizon, live, kept: Vec::new(), totals, folded: 0 }
    }

    /// Adds temporaries that were counted before. `None`: no memory.
    pub(super) fn count(&mut self, key: TemporaryKey, count: u64) -> Option<()> {
        self.totals.try_reserve(1).ok()?;
        let total = self.totals.entry(key).or_default();
        *total = total.saturating_add(count);
        Some(())
    }

    /// Looks at the next event of a drained page. `None`: no memory.
    pub(super) fn drained(&mut self, thread: PageThread, event: Event) -> Option<()> {
        let this = Kept { thread, event };
        let before = event.time() < self.horizon;
        match event {
            Event::Allocated { domain, address, .. } if before && domain != Domain::Mmap => {
                self.allocated((domain, address), Live::Drained(this))
            }
            Event::Freed { domain, address, .. } if before && domain != Domain::Mmap => {
                match self.live.remove(&(domain, address)) {
                    Some(Live::Drained(allocation)) => self.fold(allocation.event),
                    Some(Live::Elsewhere) | None => self.keep(this),
                }
            }
            // When that was is not known of what a compaction folds either.
            Event::Folded { .. } if before => Some(()),
            _ => self.keep(this),
        }
    }

    /// Looks at the next event of a page that is not drained: it stays where it is.
    pub(super) fn elsewhere(&mut self, event: Event) -> Option<()> {
        match event {
            Event::Allocated { domain, address, .. } => {
                self.allocated((domain, address), Live::Elsewhere)
            }
            Event::Freed { domain, address, .. } => match self.live.remove(&(domain, address)) {
                Some(Live::Drained(allocation)) => self.keep(allocation),
                Some(Live::Elsewhere) | None => Some(()),
            },
            Event::RangeFreed { .. }
            | Event::Marked { .. }
            | Event::Failed { .. }
            | Event::ContextEnded { .. }
            | Event::Folded { .. } => Some(()),
        }
    }

    fn allocated(&mut self, block: (Domain, u64), live: Live) -> Option<()> {
        self.live.try_reserve(1).ok()?;
        match self.live.insert(block, live) {
            // Its free is not here, or comes late.
            Some(Live::Drained(earlier)) => self.keep(earlier),
            Some(Live::Elsewhere) | None => Some(()),
        }
    }

    fn fold(&mut self, allocation: Event) -> Option<()> {
        if let Event::Allocated { domain, size, stack, .. } = allocation {
            self.count(TemporaryKey { stack, size, domain }, 1)?;
            self.folded = self.folded.saturating_add(1);
        }
        Some(())
    }

    fn keep(&mut self, event: Kept) -> Option<()> {
        self.kept.try_reserve(1).ok()?;
        self.kept.push(event);
        Some(())
    }

    /// Everything that stays. `None`: no memory.
    pub(super) fn finish(mut self) -> Option<Folded> {
        self.kept.try_reserve(self.live.len()).ok()?;
        let live = self.live.into_values().filter_map(|live| match live {
            Live::Drained(allocation) => Some(allocation),
            Live::Elsewhere => None,
        });
        self.kept.extend(live);
        self.kept.sort_unstable_by_key(|kept| (kept.thread.number, kept.event.order()));
        let mut totals = Vec::new();
        totals.try_reserve_exact(self.totals.len()).ok()?;
        totals.extend(self.totals);
        totals.sort_unstable_by_key(|(key, _)| (key.stack, key.size, key.domain));
        Some(Folded { kept: self.kept, totals, pairs: self.folded })
    }
}

/// Multiplies: the keys are addresses and numbers that nobody chose to collide.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::StackId;

    const THREAD: PageThread = PageThread { number: 1, tid: 1 };

    fn allocated(time: u64, address: u64) -> Event {
        let (time, domain) = (Ticks(time), Domain::Malloc);
        let stack = StackId::new(7);
        Event::Allocated { time, domain, address, size: 10_001, stack, file_backed: false }
    }

    fn freed(time: u64, address: u64) -> Event {
        Event::Freed { time: Ticks(time), domain: Domain::Malloc, address }
    }

    /// The events that stay and the number of pairs, of events that were drained (true) or not.
    fn fold(horizon: u64, events: &[(bool, Event)]) -> (Vec<Event>, u64) {
        let mut fold = Fold::new(Ticks(horizon));
        for &(drained, event) in events {
            match drained {
                true => fold.drained(THREAD, event).unwrap(),
                false => fold.elsewhere(event).unwrap(),
            }
        }
        let Folded { kept, totals, pairs: folded } = fold.finish().unwrap();
        assert_eq!(totals.iter().map(|(_, count)| count).sum::<u64>(), folded);
        assert!(totals.iter().all(|(key, _)| key.size == 10_001 && key.stack == StackId::new(7)));
        (kept.iter().map(|kept| kept.event).collect(), folded)
    }

    #[test]
    fn pairs_are_counted_and_what_lives_stays() {
        let events = [(true, allocated(1, 16)), (true, allocated(2, 32)), (true, freed(3, 16))];
        assert_eq!(fold(100, &events), (vec![allocated(2, 32)], 1));
    }

    /// A thread's page may be drained long after others: what it holds belongs in between.
    #[test]
    fn a_free_that_is_not_drained_yet_keeps_its_allocation() {
        let (first, second) = (allocated(1, 16), allocated(3, 16));
        let events = [(true, first), (false, freed(2, 16)), (true, second), (true, freed(4, 16))];
        assert_eq!(fold(100, &events), (vec![first], 1), "the second block was freed at 4");
        let events = [(true, first), (false, freed(2, 16)), (false, second), (true, freed(4, 16))];
        assert_eq!(fold(100, &events), (vec![first, freed(4, 16)], 0), "the free is the second's");
    }

    /// A `realloc` is stamped before it is done: its free may be shown to nobody yet.
    #[test]
    fn an_allocation_at_a_live_address_begins_a_new_block() {
        let events = [(true, allocated(1, 16)), (true, allocated(3, 16)), (true, freed(4, 16))];
        assert_eq!(fold(100, &events), (vec![allocated(1, 16)], 1));
    }

    #[test]
    fn when_temporaries_were_is_forgotten() {
        let folded = |time| {
            let (time, domain, stack) = (Ticks(time), Domain::Malloc, StackId::new(7));
            Event::Folded { time, domain, size: 10_001, stack, count: 8 }
        };
        let events = [(true, folded(1)), (true, folded(100)), (false, folded(2))];
        assert_eq!(fold(100, &events), (vec![folded(100)], 0));
    }

    #[test]
    fn nothing_is_folded_behind_the_horizon_and_mappings_never() {
        let events = [(true, allocated(1, 16)), (true, freed(50, 16))];
        assert_eq!(fold(50, &events), (vec![allocated(1, 16), freed(50, 16)], 0));
        let domain = Domain::Mmap;
        let (time, address, size) = (Ticks(1), 1 << 20, 4096);
        let mapped =
            Event::Allocated { time, domain, address, size, stack: None, file_backed: false };
        let unmapped = Event::RangeFreed { time: Ticks(2), domain, address, size };
        assert_eq!(fold(50, &[(true, mapped), (true, unmapped)]), (vec![mapped, unmapped], 0));
    }
}
