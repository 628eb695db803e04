//! The moment at which memory counts as unfreed, and the heap at that moment.
//!
//! An interpreter that shuts down frees what the program kept: leaks would be gone at the very end.

use tftrace_format::{Domain, Ticks};

use super::live::LiveHeap;
use super::totals::{Level, StackTotals};

/// An interpreter's shutdown takes less than this, in seconds. A process that goes on for longer
/// is not about to end.
const LONGEST_SHUT_DOWN: f64 = 30.0;

/// The heap at a moment.
#[derive(Clone, Debug, Default)]
pub struct Unfreed {
    /// When the interpreter began to shut down; `None` for the end of the trace.
    pub shut_down: Option<Ticks>,
    /// By domain; pools left out.
    levels: [Level; Domain::ALL.len()],
    pools: [Level; Domain::ALL.len()],
    /// Live memory of the host.
    pub host_bytes: u64,
    totals: StackTotals,
}

impl Unfreed {
    /// The heap as it is.
    pub(super) fn of(heap: &LiveHeap, shut_down: Option<Ticks>) -> Self {
        Self {
            shut_down,
            levels: Domain::ALL.map(|domain| heap.level(domain)),
            pools: Domain::ALL.map(|domain| heap.pools(domain)),
            host_bytes: heap.host_bytes(),
            totals: heap.totals(&Domain::ALL),
        }
    }

    /// Whether this is the moment to look at, if the trace went on for so many seconds after it.
    pub(super) fn is_followed_by_the_end(&self, seconds: f64) -> bool {
        self.shut_down.is_some() && seconds < LONGEST_SHUT_DOWN
    }

    /// What was live for a domain, pools left out; for mmap without the mappings of files.
    pub fn level(&self, domain: Domain) -> Level {
        self.levels[domain as usize]
    }

    /// The pools out of which the allocator of a domain cuts its blocks.
    pub fn pools(&self, domain: Domain) -> Level {
        self.pools[domain as usize]
    }

    /// The memory of every call stack for these domains.
    pub fn totals(&self, domains: &[Domain]) -> StackTotals {
        self.totals.iter().filter(|((domain, _), _)| domains.contains(domain)).collect()
    }
}
