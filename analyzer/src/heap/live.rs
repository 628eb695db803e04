//! What is live: applies events, one after the other, to the blocks and ranges of every domain.

use rustc_hash::FxHashMap;
use tftrace_format::{Domain, Event, StackId, Ticks, range_end};

use super::purpose::{Purpose, Purposes};
use super::ranges::{Range, RangeKind, RangeMap};
use super::sampling::Sampling;
use super::totals::{Level, StackTotals, TotalsKey};
use crate::reconcile::chunk_bytes;

/// A live block, without its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Bytes as requested.
    pub size: u64,
    /// Who asked.
    pub stack: Option<StackId>,
    /// When.
    pub born: Ticks,
}

/// What an event did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A range came to life.
    Mapped,
    /// A block came to life, and what it stands for.
    Allocated(Level),
    /// A live block died, and what it stood for.
    Freed(Block, Level),
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

/// The live blocks and ranges of all domains.
#[derive(Clone, Debug, Default)]
pub struct LiveHeap {
    purposes: Purposes,
    sampling: Sampling,
    /// By the domain whose functions allocated them.
    pub(super) blocks: [FxHashMap<u64, Block>; Domain::ALL.len()],
    /// By the domain that they are for; pools left out.
    levels: [Level; Domain::ALL.len()],
    peaks: [Level; Domain::ALL.len()],
    /// By the domain whose allocator cuts its blocks out of them; those in the C heap.
    pools: [Level; Domain::ALL.len()],
    pub(super) ranges: RangeMap,
    /// All blocks of the C heap, whatever they are for, and the same as glibc counts them.
    malloc: Level,
    malloc_chunk_bytes: u64,
    anomalies: Anomalies,
    /// Whether blocks may be live that are not known.
    is_partial: bool,
}

impl LiveHeap {
    /// An empty heap, of a trace with these purposes that was sampled so.
    pub fn new(purposes: Purposes, sampling: Sampling) -> Self {
        Self { purposes, sampling, ..Self::default() }
    }

    /// Forgets what is live: recording begins, and what happened before was not seen to its end.
    pub fn begin_anew(&mut self) {
        let old = std::mem::take(self);
        *self = Self {
            purposes: old.purposes,
            sampling: old.sampling,
            peaks: old.peaks,
            anomalies: old.anomalies,
            is_partial: true,
            ..Self::default()
        };
    }

    /// Applies the next event.
    pub fn apply(&mut self, event: &Event) -> Change {
        match *event {
            Event::Allocated { domain: Domain::Mmap, address, size, stack, file_backed, time } => {
                let end = range_end(address, size);
                let kind = match self.purposes.get(Domain::Mmap, stack) {
                    _ if file_backed => RangeKind::File,
                    Purpose::Pool(domain) => RangeKind::Pool(domain),
                    Purpose::Use(_) => RangeKind::Anonymous,
                };
                self.ranges.insert(address, Range { end, stack, kind, born: time });
                self.set_level(Domain::Mmap, self.ranges.anonymous());
                Change::Mapped
            }
            Event::Allocated { domain, address, size, stack, time, .. } => Change::Allocated(
                self.allocated(domain, address, Block { size, stack, born: time }),
            ),
            Event::Freed { domain: Domain::Mmap, address, .. } => {
                let end = self.ranges.get(address).map_or(address, |range| range.end);
                self.range_freed(address, end)
            }
            Event::RangeFreed { domain: Domain::Mmap, address, size, .. } => {
                self.range_freed(address, range_end(address, size))
            }
            Event::Freed { domain, address, .. } | Event::RangeFreed { domain, address, .. } => {
                self.freed(domain, address)
            }
            Event::Marked { .. } | Event::Failed { .. } | Event::ContextEnded { .. } => {
                Change::Nothing
            }
        }
    }

    /// The frees that an event means beside itself: those of all memory in a CUDA context that ends.
    pub fn frees_meant_by(&self, event: &Event) -> Vec<Event> {
        let Event::ContextEnded { time, context } = *event else { return Vec::new() };
        let mut frees = Vec::new();
        for domain in Domain::ALL {
            let of_context = self.blocks[domain as usize]
                .iter()
                .filter(|(_, block)| self.purposes.context(block.stack) == Some(context))
                .map(|(&address, _)| address);
            let mut addresses: Vec<u64> = of_context.collect();
            addresses.sort_unstable();
            frees.extend(addresses.into_iter().map(|address| Event::Freed {
                time,
                domain,
                address,
            }));
        }
        frees
    }

    fn allocated(&mut self, domain: Domain, address: u64, block: Block) -> Level {
        let new = self.sampling.block(domain, block.size, block.born);
        if let Some(earlier) = self.blocks[domain as usize].insert(address, block) {
            self.anomalies.replaced += 1;
            self.forget(domain, earlier);
        }
        if domain == Domain::Malloc {
            self.malloc.add_all(new);
            let chunk = self.sampling.scaled(domain, block.size, chunk_bytes(block.size));
            self.malloc_chunk_bytes = self.malloc_chunk_bytes.saturating_add(chunk);
        }
        match self.purposes.get(domain, block.stack) {
            Purpose::Pool(of) => self.pools[of as usize].add_all(new),
            Purpose::Use(of) => {
                let mut level = self.level(of);
                level.add_all(new);
                self.set_level(of, level);
            }
        }
        new
    }

    fn freed(&mut self, domain: Domain, address: u64) -> Change {
        let Some(block) = self.blocks[domain as usize].remove(&address) else {
            // Python's blocks are seen from the moment on that the interpreter is.
            let is_known = domain != Domain::Python && !self.is_partial;
            self.anomalies.unmatched_frees += u64::from(is_known);
            return Change::Nothing;
        };
        Change::Freed(block, self.forget(domain, block))
    }

    fn forget(&mut self, domain: Domain, block: Block) -> Level {
        let old = self.sampling.block(domain, block.size, block.born);
        if domain == Domain::Malloc {
            self.malloc.remove_all(old);
            let chunk = self.sampling.scaled(domain, block.size, chunk_bytes(block.size));
            self.malloc_chunk_bytes = self.malloc_chunk_bytes.saturating_sub(chunk);
        }
        match self.purposes.get(domain, block.stack) {
            Purpose::Pool(of) => self.pools[of as usize].remove_all(old),
            Purpose::Use(of) => self.levels[of as usize].remove_all(old),
        }
        old
    }

    fn range_freed(&mut self, start: u64, end: u64) -> Change {
        if self.ranges.remove(start, end) == 0 {
            self.anomalies.unmatched_frees += u64::from(!self.is_partial);
        }
        self.levels[Domain::Mmap as usize] = self.ranges.anonymous();
        Change::Nothing
    }

    fn set_level(&mut self, domain: Domain, level: Level) {
        self.levels[domain as usize] = level;
        // By bytes, then blocks: blocks of no bytes have a peak too.
        let peak = &mut self.peaks[domain as usize];
        *peak = level.max(*peak);
    }

    /// What is live for a domain, pools left out; for mmap without the mappings of files.
    pub fn level(&self, domain: Domain) -> Level {
        self.levels[domain as usize]
    }

    /// The most that was live in a domain, and the blocks at that moment.
    pub fn peak(&self, domain: Domain) -> Level {
        self.peaks[domain as usize]
    }

    /// The pools out of which the allocator of a domain cuts its blocks.
    pub fn pools(&self, domain: Domain) -> Level {
        let mut pools = self.pools[domain as usize];
        pools.add_all(self.ranges.pool(domain));
        pools
    }

    /// The part of a domain's pools in which no block is live.
    pub fn slack(&self, domain: Domain) -> u64 {
        // Blocks of Python's are Python's; those of TensorFlow's allocator are of the memory that its
        // pools are made of.
        let cut = [Domain::Python, Domain::TensorFlow].into_iter().flat_map(|cut| {
            let blocks = self.blocks[cut as usize].values();
            blocks.map(move |block| (cut, block))
        });
        let own =
            cut.filter(|(cut, block)| self.purposes.get(*cut, block.stack) == Purpose::Use(domain));
        let in_use = own.fold(0u64, |sum, (cut, block)| {
            sum.saturating_add(self.sampling.block(cut, block.size, block.born).bytes)
        });
        self.pools(domain).bytes.saturating_sub(in_use)
    }

    /// All live blocks of the C heap, whatever they are for.
    pub fn malloc(&self) -> Level {
        self.malloc
    }

    /// What the process took from the C heap and from the kernel and has not given back: malloc and
    /// anonymous mmap, pools included.
    pub fn host_bytes(&self) -> u64 {
        let pools = Domain::ALL.map(|domain| self.ranges.pool(domain).bytes);
        let ranges = pools.iter().fold(self.ranges.anonymous().bytes, |a, b| a.saturating_add(*b));
        self.malloc.bytes.saturating_add(ranges)
    }

    /// The live malloc blocks as glibc counts them, chunk headers and rounding included.
    pub fn malloc_chunk_bytes(&self) -> u64 {
        self.malloc_chunk_bytes
    }

    /// Live mappings of files.
    pub fn file_backed(&self) -> Level {
        self.ranges.file_backed()
    }

    /// Events that do not fit together, so far.
    pub fn anomalies(&self) -> Anomalies {
        self.anomalies
    }

    /// Shows every live block, and every range of memory, pools and files left out: whose it is, its
    /// stack, what it stands for, and when it was allocated.
    pub fn each_live(&self, mut show: impl FnMut(TotalsKey, Level, Ticks)) {
        for domain in Domain::ALL {
            for block in self.blocks[domain as usize].values() {
                if let Purpose::Use(of) = self.purposes.get(domain, block.stack) {
                    let level = self.sampling.block(domain, block.size, block.born);
                    show((of, block.stack), level, block.born);
                }
            }
        }
        for (start, range) in self.memory_ranges() {
            let level = Level::exact(range.end - start, 1);
            show((Domain::Mmap, range.stack), level, range.born);
        }
    }

    /// Shows every range of memory, pools and files left out: its stack and its bytes.
    pub fn each_mapping(&self, mut show: impl FnMut(TotalsKey, u64)) {
        for (start, range) in self.memory_ranges() {
            show((Domain::Mmap, range.stack), range.end - start);
        }
    }

    fn memory_ranges(&self) -> impl Iterator<Item = (u64, &Range)> {
        self.ranges.iter().filter(|(_, range)| range.kind == RangeKind::Anonymous)
    }

    /// The live memory of every call stack for these domains. Pools are left out: what was cut out
    /// of them is there. So are mappings of files.
    pub fn totals(&self, domains: &[Domain]) -> StackTotals {
        let mut totals = StackTotals::default();
        self.each_live(|(of, stack), level, _| {
            if domains.contains(&of) {
                totals.add((of, stack), level);
            }
        });
        totals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::reader::Trace;
    use tftrace_format::{CudaKind, CudaMemory, Frame, OpId};

    const TIME: Ticks = Ticks(1);

    fn allocated(domain: Domain, address: u64, size: u64) -> Event {
        let stack = StackId::new(1);
        Event::Allocated { time: TIME, domain, address, size, stack, file_backed: false }
    }

    fn freed(domain: Domain, address: u64) -> Event {
        Event::Freed { time: TIME, domain, address }
    }

    #[test]
    fn domains_are_separate_spaces() {
        let mut heap = LiveHeap::default();
        heap.apply(&allocated(Domain::Malloc, 16, 10_001));
        heap.apply(&allocated(Domain::Python, 16, 20_001));
        let block = Block { size: 10_001, stack: StackId::new(1), born: TIME };
        let freed_block = Change::Freed(block, Level::exact(10_001, 1));
        assert_eq!(heap.apply(&freed(Domain::Malloc, 16)), freed_block);
        assert_eq!(heap.apply(&freed(Domain::Malloc, 16)), Change::Nothing);
        assert_eq!(heap.level(Domain::Python), Level::exact(20_001, 1));
        assert_eq!(heap.peak(Domain::Malloc), Level::exact(10_001, 1));
        assert_eq!(heap.malloc_chunk_bytes(), 0);
        assert_eq!(heap.anomalies(), Anomalies { unmatched_frees: 1, replaced: 0 });
    }

    #[test]
    fn an_allocation_at_a_live_address_replaces_the_block() {
        let mut heap = LiveHeap::default();
        heap.apply(&allocated(Domain::Malloc, 16, 10_001));
        heap.apply(&allocated(Domain::Malloc, 16, 24));
        assert_eq!(heap.level(Domain::Malloc), Level::exact(24, 1));
        assert_eq!(heap.malloc_chunk_bytes(), 32);
        assert_eq!(heap.anomalies(), Anomalies { unmatched_frees: 0, replaced: 1 });
    }

    #[test]
    fn blocks_of_no_bytes_have_a_peak_and_domains_without_events_have_none() {
        let mut heap = LiveHeap::default();
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
        let mut heap =
            LiveHeap::new(Purposes::of(&Trace::open(&bytes).unwrap()), Sampling::default());
        let mut add = |domain, address, size, stack| {
            let time = TIME;
            heap.apply(&Event::Allocated { time, domain, address, size, stack, file_backed: false })
        };
        add(Domain::Cuda, 1 << 20, 1 << 20, region);
        add(Domain::TensorFlow, 1 << 20, 10_001, tensor);
        add(Domain::Cuda, 1 << 30, 20_001, other);
        assert_eq!(heap.level(Domain::Cuda), Level::exact(30_002, 2));
        assert_eq!(heap.slack(Domain::Cuda), (1 << 20) - 10_001);
        let frees = heap.frees_meant_by(&Event::ContextEnded { time: TIME, context: 1 });
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
        let mut heap = LiveHeap::default();
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
