//! What can be asked of the live heap: levels, pools, totals by call stack, what is live.

use tftrace_format::{Domain, Ticks};

use super::live::{Anomalies, LiveHeap};
use super::live_blocks::LiveBlocks;
use super::purpose::Purpose;
use super::ranges::{Range, RangeKind};
use super::site_table::{SiteChange, SiteId, SiteTable};
use super::totals::{Level, StackTotals};

impl LiveHeap {
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

    /// The part of a domain's pools in which none of these blocks, which are live, is.
    pub fn slack(&self, blocks: &LiveBlocks, domain: Domain) -> u64 {
        // Blocks of Python's are Python's; those of TensorFlow's allocator are of the memory that its
        // pools are made of.
        let cut = [Domain::Python, Domain::TensorFlow]
            .into_iter()
            .flat_map(|cut| blocks.of(cut).map(move |(_, block)| (cut, block)));
        let own =
            cut.filter(|&(cut, block)| self.purposes.get(cut, block.stack) == Purpose::Use(domain));
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
        self.malloc.bytes.saturating_add(self.range_bytes)
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

    /// Who asked for memory, and what of it is live.
    pub fn sites(&self) -> &SiteTable {
        &self.sites
    }

    /// Shows every block, which are those that are live, and every range of memory, pools and files
    /// left out: who asked for it, what it stands for, and when it was allocated.
    pub fn each_live(&self, blocks: &LiveBlocks, mut show: impl FnMut(SiteId, Level, Ticks)) {
        for domain in Domain::ALL {
            for (_, block) in blocks.of(domain) {
                let purpose = self.purposes.get(domain, block.stack);
                if let (Purpose::Use(_), Some(site)) =
                    (purpose, self.sites.find(purpose, block.stack))
                {
                    let level = self.sampling.block(domain, block.size, block.born);
                    show(site, level, block.born);
                }
            }
        }
        for (start, range) in self.memory_ranges() {
            if let Some(site) = self.sites.find(Purpose::Use(Domain::Mmap), range.stack) {
                show(site, Level::exact(range.end - start, 1), range.born);
            }
        }
    }

    /// Shows what happened to every site since the last time that this was asked, pools left out.
    pub fn take_changes(&mut self, show: impl FnMut(SiteChange)) {
        self.sites.take_changes(show);
    }

    fn memory_ranges(&self) -> impl Iterator<Item = (u64, &Range)> {
        self.ranges.iter().filter(|(_, range)| range.kind == RangeKind::Anonymous)
    }

    /// The live memory of every call stack for these domains. Pools are left out: what was cut out
    /// of them is there. So are mappings of files.
    pub fn totals(&self, domains: &[Domain]) -> StackTotals {
        self.sites.live(domains)
    }
}
