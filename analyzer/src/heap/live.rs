//! What is live, in sums: applies events, one after the other, to the totals and ranges of every domain.
//!
//! Never knows which blocks are live: it is told which one an event ended.

use std::sync::Arc;

use tftrace_format::{Domain, Event, range_end};

use super::block_map::Block;
use super::pairing::{AHEAD, Step};
use super::purpose::{Purpose, Purposes};
use super::ranges::{Range, RangeKind, RangeMap};
use super::sampling::Sampling;
use super::site_table::{SiteId, SiteTable};
use super::totals::Level;
use crate::reconcile::chunk_bytes;

/// What an event did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A range came to life; who asked for it.
    Mapped(SiteId),
    /// A block came to life: who asked for it, and what it stands for.
    Allocated(SiteId, Level),
    /// A live block died: who had asked for it, and what it stood for.
    Freed(SiteId, Block, Level),
    /// Nothing that is live was concerned.
    Nothing,
}

/// Events that do not fit together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Frees of addresses that are not live: memory from before the trace, or from elsewhere.
    pub unmatched_frees: u64,
    /// Allocations at a live address: the free in between is missing, or sorted too late.
    pub replaced: u64,
}

/// What is live in all domains.
#[derive(Clone, Debug, Default)]
pub struct LiveHeap {
    pub(super) purposes: Arc<Purposes>,
    pub(super) sampling: Sampling,
    pub(super) sites: SiteTable,
    /// By the domain that they are for; pools left out.
    pub(super) levels: [Level; Domain::ALL.len()],
    pub(super) peaks: [Level; Domain::ALL.len()],
    /// By the domain whose allocator cuts its blocks out of them; those in the C heap.
    pub(super) pools: [Level; Domain::ALL.len()],
    pub(super) ranges: RangeMap,
    /// Of these, what the process took from the kernel for itself, in bytes.
    pub(super) range_bytes: u64,
    /// All blocks of the C heap, whatever they are for, and the same as glibc counts them.
    pub(super) malloc: Level,
    pub(super) malloc_chunk_bytes: u64,
    pub(super) anomalies: Anomalies,
    /// Whether blocks may be live that are not known.
    is_partial: bool,
}

impl LiveHeap {
    /// An empty heap, of a trace with these purposes that was sampled so.
    pub fn new(purposes: Arc<Purposes>, sampling: Sampling) -> Self {
        let sites = SiteTable::new(purposes.stacks());
        Self { purposes, sampling, sites, ..Self::default() }
    }

    /// Forgets what is live: recording begins, and what happened before was not seen to its end.
    pub fn begin_anew(&mut self) {
        let mut old = std::mem::take(self);
        old.sites.forget_all();
        *self = Self {
            sites: old.sites,
            purposes: old.purposes,
            sampling: old.sampling,
            peaks: old.peaks,
            anomalies: old.anomalies,
            is_partial: true,
            ..Self::default()
        };
    }

    /// Applies the next event, which ended the life of this block: what [`LiveBlocks::apply`] gave.
    ///
    /// [`LiveBlocks::apply`]: super::LiveBlocks::apply
    pub fn apply(&mut self, event: &Event, ended: Option<Block>) -> Change {
        match *event {
            Event::Allocated { domain: Domain::Mmap, address, size, stack, file_backed, time } => {
                let end = range_end(address, size);
                let purpose = self.purposes.get(Domain::Mmap, stack);
                let kind = match purpose {
                    _ if file_backed => RangeKind::File,
                    Purpose::Pool(domain) => RangeKind::Pool(domain),
                    Purpose::Use(_) => RangeKind::Anonymous,
                };
                let site = self.sites.id(purpose, stack);
                self.sites.called(site);
                if !file_backed {
                    self.sites.asked(site, Level::exact(size, 1));
                }
                let Self { ranges, sites, .. } = self;
                let range = Range { end, stack, kind, born: time };
                ranges.insert(address, range, &mut |range, bytes, came| {
                    tell(sites, range, bytes, came)
                });
                self.ranges_changed();
                self.set_level(Domain::Mmap, self.ranges.anonymous());
                Change::Mapped(site)
            }
            Event::Allocated { domain, size, stack, time, .. } => {
                let block = Block { size, stack, born: time };
                self.allocated(domain, block, ended)
            }
            Event::Freed { domain: Domain::Mmap, address, .. } => {
                let end = self.ranges.get(address).map_or(address, |range| range.end);
                self.range_freed(address, end)
            }
            Event::RangeFreed { domain: Domain::Mmap, address, size, .. } => {
                self.range_freed(address, range_end(address, size))
            }
            Event::Freed { domain, .. } | Event::RangeFreed { domain, .. } => {
                self.freed(domain, ended)
            }
            Event::Marked { .. }
            | Event::Failed { .. }
            | Event::ContextEnded { .. }
            | Event::Folded { .. } => Change::Nothing,
        }
    }

    /// Looks at what the next events will concern.
    ///
    /// For many events together this takes the time of a few: what is not in the processor's cache is
    /// fetched at once, and there when they are applied.
    pub(super) fn look_at(&self, steps: &[Step; AHEAD]) {
        let sites = steps.each_ref().map(|step| {
            let stack = match (step.event, step.ended()) {
                (Event::Allocated { stack, .. }, _) => stack,
                (_, ended) => ended.and_then(|block| block.stack),
            };
            self.sites.guess(stack)
        });
        let seen = sites.into_iter().fold(0, |seen, site| seen ^ self.sites.look_at(site));
        // The looking is what is wanted, and nothing of what was seen.
        std::hint::black_box(seen);
    }

    fn allocated(&mut self, domain: Domain, block: Block, replaced: Option<Block>) -> Change {
        let Block { size, stack, born } = block;
        let purpose = self.purposes.get(domain, stack);
        let site = self.sites.id(purpose, stack);
        let new = self.sampling.block(domain, size, born);
        if let Some(earlier) = replaced {
            self.anomalies.replaced += 1;
            self.forget(domain, earlier);
        }
        if domain == Domain::Malloc {
            self.malloc.add_all(new);
            let chunk = self.sampling.scaled(domain, size, chunk_bytes(size));
            self.malloc_chunk_bytes = self.malloc_chunk_bytes.saturating_add(chunk);
        }
        self.sites.asked(site, new);
        self.sites.came(site, new);
        if new.bytes > 0 {
            self.sites.called(site);
        }
        match purpose {
            Purpose::Pool(of) => self.pools[of as usize].add_all(new),
            Purpose::Use(of) => {
                let mut level = self.level(of);
                level.add_all(new);
                self.set_level(of, level);
            }
        }
        Change::Allocated(site, new)
    }

    fn freed(&mut self, domain: Domain, block: Option<Block>) -> Change {
        let Some(block) = block else {
            // Python's blocks are seen from the moment on that the interpreter is.
            let is_known = domain != Domain::Python && !self.is_partial;
            self.anomalies.unmatched_frees += u64::from(is_known);
            return Change::Nothing;
        };
        let (site, level) = self.forget(domain, block);
        Change::Freed(site, block, level)
    }

    fn forget(&mut self, domain: Domain, block: Block) -> (SiteId, Level) {
        let old = self.sampling.block(domain, block.size, block.born);
        if domain == Domain::Malloc {
            self.malloc.remove_all(old);
            let chunk = self.sampling.scaled(domain, block.size, chunk_bytes(block.size));
            self.malloc_chunk_bytes = self.malloc_chunk_bytes.saturating_sub(chunk);
        }
        let purpose = self.purposes.get(domain, block.stack);
        let site = self.sites.id(purpose, block.stack);
        self.sites.went(site, old);
        match purpose {
            Purpose::Pool(of) => self.pools[of as usize].remove_all(old),
            Purpose::Use(of) => self.levels[of as usize].remove_all(old),
        }
        (site, old)
    }

    fn range_freed(&mut self, start: u64, end: u64) -> Change {
        let Self { ranges, sites, .. } = self;
        if ranges.remove(start, end, &mut |range, bytes, came| tell(sites, range, bytes, came)) == 0
        {
            self.anomalies.unmatched_frees += u64::from(!self.is_partial);
        }
        self.ranges_changed();
        self.levels[Domain::Mmap as usize] = self.ranges.anonymous();
        Change::Nothing
    }

    fn ranges_changed(&mut self) {
        let pools = Domain::ALL.map(|domain| self.ranges.pool(domain).bytes);
        let own = self.ranges.anonymous().bytes;
        self.range_bytes = pools.iter().fold(own, |a, b| a.saturating_add(*b));
    }

    /// The memory of the host is larger than it ever was.
    pub(super) fn is_peak(&mut self) {
        self.sites.is_peak();
    }

    fn set_level(&mut self, domain: Domain, level: Level) {
        self.levels[domain as usize] = level;
        // By bytes, then blocks: blocks of no bytes have a peak too.
        let peak = &mut self.peaks[domain as usize];
        *peak = level.max(*peak);
    }
}

/// A piece of a range came or went.
fn tell(sites: &mut SiteTable, range: &Range, bytes: u64, came: bool) {
    if range.kind != RangeKind::Anonymous {
        return;
    }
    let site = sites.id(Purpose::Use(Domain::Mmap), range.stack);
    let piece = Level::exact(bytes, 1);
    if came { sites.came(site, piece) } else { sites.went(site, piece) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::LiveBlocks;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::reader::Trace;
    use tftrace_format::{CudaKind, CudaMemory, Frame, OpId, StackId, Ticks};

    const TIME: Ticks = Ticks(1);

    /// The heap, never behind.
    #[derive(Default)]
    struct Live {
        heap: LiveHeap,
        blocks: LiveBlocks,
    }

    impl std::ops::Deref for Live {
        type Target = LiveHeap;

        fn deref(&self) -> &LiveHeap {
            &self.heap
        }
    }

    impl Live {
        fn apply(&mut self, event: &Event) -> Change {
            self.heap.apply(event, self.blocks.apply(event))
        }
    }

    fn allocated(domain: Domain, address: u64, size: u64) -> Event {
        let stack = StackId::new(1);
        Event::Allocated { time: TIME, domain, address, size, stack, file_backed: false }
    }

    fn freed(domain: Domain, address: u64) -> Event {
        Event::Freed { time: TIME, domain, address }
    }

    #[test]
    fn domains_are_separate_spaces() {
        let mut heap = Live::default();
        heap.apply(&allocated(Domain::Malloc, 16, 10_001));
        heap.apply(&allocated(Domain::Python, 16, 20_001));
        let Change::Freed(site, block, level) = heap.apply(&freed(Domain::Malloc, 16)) else {
            panic!("it was live");
        };
        assert_eq!((block.size, block.born, level), (10_001, TIME, Level::exact(10_001, 1)));
        assert_eq!(heap.sites().key(site), Some((Domain::Malloc, StackId::new(1))));
        assert_eq!(heap.apply(&freed(Domain::Malloc, 16)), Change::Nothing);
        assert_eq!(heap.level(Domain::Python), Level::exact(20_001, 1));
        assert_eq!(heap.peak(Domain::Malloc), Level::exact(10_001, 1));
        assert_eq!(heap.malloc_chunk_bytes(), 0);
        assert_eq!(heap.anomalies(), Anomalies { unmatched_frees: 1, replaced: 0 });
    }

    #[test]
    fn an_allocation_at_a_live_address_replaces_the_block() {
        let mut heap = Live::default();
        heap.apply(&allocated(Domain::Malloc, 16, 10_001));
        heap.apply(&allocated(Domain::Malloc, 16, 24));
        assert_eq!(heap.level(Domain::Malloc), Level::exact(24, 1));
        assert_eq!(heap.malloc_chunk_bytes(), 32);
        assert_eq!(heap.anomalies(), Anomalies { unmatched_frees: 0, replaced: 1 });
    }

    #[test]
    fn blocks_of_no_bytes_have_a_peak_and_domains_without_events_have_none() {
        let mut heap = Live::default();
        heap.apply(&allocated(Domain::Malloc, 16, 0));
        heap.apply(&freed(Domain::Malloc, 16));
        heap.apply(&freed(Domain::Cuda, 16));
        let peaks = Domain::ALL.map(|domain| heap.peak(domain));
        assert_eq!(peaks[0], Level::exact(0, 1));
        assert_eq!(peaks[1..], [Level::default(); 5]);
    }

    #[test]
    fn the_end_of_a_context_frees_what_lived_in_it() {
        let mut builder = TraceBuilder::new();
        let memory =
            |context| Frame::Cuda(CudaMemory { kind: CudaKind::Device, device: Some(0), context });
        let of = |builder: &mut TraceBuilder, context, leaf| {
            Some(builder.stack(&[&[memory(context)][..], leaf].concat()))
        };
        let region = of(&mut builder, 1, &[Frame::Pool(Domain::Cuda)]);
        let tensor = of(&mut builder, 1, &[Frame::Op(OpId(1))]);
        let other = of(&mut builder, 2, &[]);
        let bytes = builder.build(Packing::Raw);
        let purposes = Arc::new(Purposes::of(&Trace::open(&bytes).unwrap()));
        let new = LiveHeap::new(Arc::clone(&purposes), Sampling::default());
        let mut heap = Live { heap: new, ..Live::default() };
        let mut add = |domain, address, size, stack| {
            let time = TIME;
            heap.apply(&Event::Allocated { time, domain, address, size, stack, file_backed: false })
        };
        add(Domain::Cuda, 1 << 20, 1 << 20, region);
        add(Domain::TensorFlow, 1 << 20, 10_001, tensor);
        add(Domain::Cuda, 1 << 30, 20_001, other);
        assert_eq!(heap.level(Domain::Cuda), Level::exact(30_002, 2));
        assert_eq!(heap.slack(&heap.blocks, Domain::Cuda), (1 << 20) - 10_001);
        let ended = Event::ContextEnded { time: TIME, context: 1 };
        let frees = heap.blocks.frees_meant_by(&ended, &purposes);
        assert_eq!(frees, [freed(Domain::TensorFlow, 1 << 20), freed(Domain::Cuda, 1 << 20)]);
        for free in frees {
            heap.apply(&free);
        }
        assert_eq!(heap.level(Domain::Cuda), Level::exact(20_001, 1));
        assert_eq!(heap.pools(Domain::Cuda), Level::default());
        assert_eq!(heap.anomalies(), Anomalies::default());
    }

    #[test]
    fn mappings_of_files_are_counted_apart() {
        let mut heap = Live::default();
        heap.apply(&allocated(Domain::Mmap, 4096, 8192));
        heap.apply(&Event::Allocated {
            time: TIME,
            domain: Domain::Mmap,
            address: 65536,
            size: 4096,
            stack: None,
            file_backed: true,
        });
        assert_eq!(heap.level(Domain::Mmap), Level::exact(8192, 1));
        assert_eq!(heap.file_backed(), Level::exact(4096, 1));
        assert_eq!(heap.totals(&Domain::ALL).sum(), Level::exact(8192, 1));
        heap.apply(&Event::RangeFreed {
            time: TIME,
            domain: Domain::Mmap,
            address: 8192,
            size: 4096,
        });
        assert_eq!(heap.host_bytes(), 4096);
    }
}
