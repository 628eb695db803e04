//! Which blocks are live, in every domain: pairs a free with the block that it ends.
//!
//! Knows nothing of what they add up to: that is the live heap's, which may be behind.

use tftrace_format::{Domain, Event};

use super::block_map::{Block, BlockMap};
use super::pairing::{AHEAD, Step};
use super::purpose::Purposes;

/// The live blocks of all domains.
#[derive(Clone, Debug, Default)]
pub struct LiveBlocks {
    /// By the domain whose functions allocated them.
    by_domain: [BlockMap; Domain::ALL.len()],
}

impl LiveBlocks {
    /// Applies the next event. Gives the block whose life it ends: what it frees or replaces.
    pub fn apply(&mut self, event: &Event) -> Option<Block> {
        match *event {
            // These are ranges, which may be freed in parts.
            Event::Allocated { domain: Domain::Mmap, .. }
            | Event::Freed { domain: Domain::Mmap, .. }
            | Event::RangeFreed { domain: Domain::Mmap, .. } => None,
            Event::Allocated { domain, address, size, stack, time, .. } => {
                let block = Block { size, stack, born: time };
                self.by_domain[domain as usize].insert(address, block)
            }
            Event::Freed { domain, address, .. } | Event::RangeFreed { domain, address, .. } => {
                self.by_domain[domain as usize].remove(address)
            }
            Event::Marked { .. }
            | Event::Failed { .. }
            | Event::ContextEnded { .. }
            | Event::Folded { .. } => None,
        }
    }

    /// Looks at what these events will concern.
    ///
    /// For many events together this takes the time of a few: what is not in the processor's cache is
    /// fetched at once, and there when they are applied. First the table, without waiting for what it
    /// says, and then the blocks.
    pub(super) fn look_at(&self, steps: &[Step; AHEAD]) {
        let concerned = steps.each_ref().map(|step| match step.event {
            Event::Allocated { domain, address, .. }
            | Event::Freed { domain, address, .. }
            | Event::RangeFreed { domain, address, .. } => (domain, address),
            _ => (Domain::Mmap, 0),
        });
        let mut seen = 0;
        for (domain, address) in concerned {
            seen ^= self.by_domain[domain as usize].look_for(address);
        }
        let guessed = concerned
            .map(|(domain, address)| (domain, self.by_domain[domain as usize].guess(address)));
        for (domain, guess) in guessed {
            seen ^= self.by_domain[domain as usize].look_at(guess);
        }
        // The looking is what is wanted, and nothing of what was seen.
        std::hint::black_box(seen);
    }

    /// The frees that an event means beside itself: those of all memory in a CUDA context that ends.
    pub(super) fn frees_meant_by(&self, event: &Event, purposes: &Purposes) -> Vec<Event> {
        let Event::ContextEnded { time, context } = *event else { return Vec::new() };
        let mut frees = Vec::new();
        for domain in Domain::ALL {
            let of_context = |block: &Block| purposes.context(block.stack) == Some(context);
            let own = self.of(domain).filter(|(_, block)| of_context(block));
            let mut addresses: Vec<u64> = own.map(|(address, _)| address).collect();
            addresses.sort_unstable();
            frees.extend(addresses.into_iter().map(|address| Event::Freed {
                time,
                domain,
                address,
            }));
        }
        frees
    }

    /// Those of a domain, in no order.
    pub(super) fn of(&self, domain: Domain) -> impl Iterator<Item = (u64, Block)> + '_ {
        self.by_domain[domain as usize].iter()
    }
}
