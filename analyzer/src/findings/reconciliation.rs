//! Where the process's anonymous memory is: what explains the kernel's own figure.

use tftrace_format::Domain;
use tftrace_format::reader::Trace;
use tftrace_format::record::MemoryReading;

use crate::model::{Owner, Reconciliation};
use crate::time_line::TimeLine;

/// The last reading of memory before the time line ends.
pub(super) fn last_reading<'t>(trace: &'t Trace<'_>, line: &TimeLine) -> Option<&'t MemoryReading> {
    let mut known = trace.readings().iter().filter(|reading| reading.rss_anonymous > 0);
    known.rfind(|reading| reading.time <= line.end.0)
}

/// What takes memory, in the order in which it is assumed not to be resident where there is too much:
/// what is free in a pool is touched last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Free,
    Live,
    /// The kernel said that it is resident.
    Resident,
}

/// Lines of the account, as they are drawn up.
#[derive(Debug, Default)]
struct Account {
    lines: Vec<(Kind, Owner)>,
    /// Live, but not resident.
    not_resident: u64,
}

impl Account {
    fn add(&mut self, kind: Kind, name: impl Into<String>, bytes: u64, bytes_error: f64) {
        if bytes > 0 {
            self.lines.push((kind, Owner { name: name.into(), bytes, bytes_error }));
        }
    }

    fn sum(&self) -> u64 {
        self.lines.iter().fold(0, |sum, (_, owner)| sum.saturating_add(owner.bytes))
    }

    /// Takes so much of what is not known to be resident: the kernel does not count it.
    fn reduce(&mut self, mut excess: u64) {
        self.lines.sort_by_key(|(kind, owner)| (*kind, std::cmp::Reverse(owner.bytes)));
        for (kind, owner) in self.lines.iter_mut().filter(|(kind, _)| *kind != Kind::Resident) {
            let taken = excess.min(owner.bytes);
            owner.bytes -= taken;
            excess -= taken;
            if *kind == Kind::Live {
                self.not_resident = self.not_resident.saturating_add(taken);
            }
        }
    }

    fn owners(self) -> Vec<Owner> {
        let mut owners: Vec<Owner> = self.lines.into_iter().map(|(_, owner)| owner).collect();
        owners.retain(|owner| owner.bytes > 0);
        owners.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        owners
    }
}

/// Explains the last reading by what is live then.
pub(super) fn reconcile(trace: &Trace<'_>, line: &TimeLine) -> Reconciliation {
    let mut account = Account::default();
    let reading = last_reading(trace, line);
    let of_malloc = reading.filter(|reading| reading.malloc_known);
    let resident = line.resident;
    for domain in crate::heap::HOST {
        let level = line.levels[domain as usize];
        let name = format!("live blocks: {}", domain.name());
        match resident.filter(|_| domain == Domain::Mmap) {
            None => account.add(Kind::Live, name, level.bytes, level.error()),
            // Of what was mapped the kernel says how much is touched.
            Some(resident) => {
                account.add(Kind::Resident, name, resident.mapped, 0.0);
                let untouched = level.bytes.saturating_sub(resident.mapped);
                account.not_resident = account.not_resident.saturating_add(untouched);
            }
        }
    }
    for (domain, name) in [
        (Domain::Python, "kept by Python's allocator (pymalloc slack)"),
        (Domain::TensorFlow, "kept by TensorFlow's pool (BFC slack)"),
    ] {
        let (mut slack, mut kind) = (line.slack[domain as usize], Kind::Free);
        // What of a mapped pool is not resident is free in it.
        if let Some(pool) = resident.map(|all| all.pools[domain as usize]).filter(|pool| *pool > 0)
        {
            slack = slack.saturating_sub(line.pools[domain as usize].bytes.saturating_sub(pool));
            kind = Kind::Resident;
        }
        account.add(kind, name, slack, 0.0);
    }
    // What the C heap had in use when its pages were counted, and how many of these it had.
    let counted = resident.and_then(|resident| {
        let of_then = trace.readings().iter().find(|reading| reading.time == resident.time)?;
        of_then.malloc_known.then_some((of_then.malloc_in_use, resident.heap))
    });
    if let Some(reading) = of_malloc {
        // The end of a heap is free, and may never have been touched.
        let most = counted.map_or(u64::MAX, |(in_use, pages)| pages.saturating_sub(in_use));
        let free = reading.malloc_free.min(most);
        account.add(Kind::Free, "kept by malloc: freed, not given back", free, 0.0);
        let rest = reading.malloc_in_use.saturating_sub(line.malloc_chunk_bytes);
        let name = "malloc: block headers, per-thread caches, blocks from before the trace";
        account.add(Kind::Live, name, rest, 0.0);
    }
    if let (Some(resident), Some(_)) = (resident, reading) {
        for (name, bytes) in [
            ("stacks of threads", resident.stacks),
            ("private pages of libraries and files", resident.files),
            ("tftrace itself, while it records", resident.tracer),
        ] {
            account.add(Kind::Resident, name, bytes, 0.0);
        }
        // Blocks of the C heap that were never touched, or were swapped out.
        account.reduce(counted.map_or(0, |(in_use, pages)| in_use.saturating_sub(pages)));
    }
    let Some(reading) = reading else {
        return Reconciliation { owners: account.owners(), ..Reconciliation::default() };
    };
    let whole = reading.rss_anonymous;
    account.reduce(account.sum().saturating_sub(whole));
    let unexplained = whole.saturating_sub(account.sum());
    Reconciliation {
        seconds: Some(trace.seconds(tftrace_format::Ticks(reading.time))),
        rss_anonymous: Some(whole),
        explained: Some((whole - unexplained) as f64 / whole as f64),
        unexplained: Some(unexplained),
        not_resident: account.not_resident,
        owners: account.owners(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_more_than_the_whole_is_not_resident() {
        let mut account = Account::default();
        account.add(Kind::Live, "small", 10, 0.0);
        account.add(Kind::Live, "large", 100, 0.0);
        account.add(Kind::Free, "free", 30, 0.0);
        account.add(Kind::Resident, "stacks", 50, 0.0);
        account.reduce(45);
        assert_eq!((account.sum(), account.not_resident), (145, 15));
        let owners = account.owners();
        let owners: Vec<_> =
            owners.iter().map(|owner| (owner.name.as_str(), owner.bytes)).collect();
        assert_eq!(owners, [("large", 85), ("stacks", 50), ("small", 10)]);
    }
}
