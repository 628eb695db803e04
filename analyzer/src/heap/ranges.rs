//! Live address ranges: what mmap gave and munmap took, in whole or in part.

use std::collections::BTreeMap;

use tftrace_format::{Domain, StackId, Ticks};

use super::totals::Level;

/// A live range, without its first byte, which is its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The byte after its last.
    pub end: u64,
    /// Who mapped it.
    pub stack: Option<StackId>,
    /// What it holds.
    pub kind: RangeKind,
    /// When it was mapped.
    pub born: Ticks,
}

/// What a range holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeKind {
    /// Memory of the process's own.
    Anonymous,
    /// A file: page cache.
    File,
    /// A pool, out of which the allocator of this domain cuts its blocks.
    Pool(Domain),
}

/// Ranges that do not overlap.
#[derive(Clone, Debug, Default)]
pub struct RangeMap {
    ranges: BTreeMap<u64, Range>,
    anonymous: Level,
    file_backed: Level,
    pools: [Level; Domain::ALL.len()],
}

impl RangeMap {
    /// Maps a range. What it covers of others is gone, as with `MAP_FIXED`.
    ///
    /// `told` is told of every piece that comes (true) or goes, with its bytes.
    pub fn insert(&mut self, start: u64, range: Range, told: &mut impl FnMut(&Range, u64, bool)) {
        self.remove(start, range.end, told);
        self.put(start, range, told);
    }

    /// Unmaps a range: whole ranges, their ends or their middles. Gives the bytes that were mapped.
    /// Tells of the pieces as [`RangeMap::insert`] does.
    pub fn remove(
        &mut self,
        start: u64,
        end: u64,
        told: &mut impl FnMut(&Range, u64, bool),
    ) -> u64 {
        let mut removed = 0u64;
        while let Some((&at, &range)) = self.ranges.range(..end).next_back()
            && range.end > start
        {
            self.ranges.remove(&at);
            self.level(range.kind).remove(range.end - at);
            told(&range, range.end - at, false);
            removed = removed.saturating_add(range.end.min(end) - at.max(start));
            if at < start {
                self.put(at, Range { end: start, ..range }, told);
            }
            if range.end > end {
                self.put(end, range, told);
            }
        }
        removed
    }

    /// The range that begins at `start`.
    pub fn get(&self, start: u64) -> Option<&Range> {
        self.ranges.get(&start)
    }

    /// All ranges, by address.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Range)> {
        self.ranges.iter().map(|(&start, range)| (start, range))
    }

    /// Ranges of memory, pools left out.
    pub fn anonymous(&self) -> Level {
        self.anonymous
    }

    /// Ranges of files.
    pub fn file_backed(&self) -> Level {
        self.file_backed
    }

    /// Ranges that are pools of a domain's allocator.
    pub fn pool(&self, domain: Domain) -> Level {
        self.pools[domain as usize]
    }

    fn put(&mut self, start: u64, range: Range, told: &mut impl FnMut(&Range, u64, bool)) {
        if start < range.end {
            self.level(range.kind).add(range.end - start);
            told(&range, range.end - start, true);
            self.ranges.insert(start, range);
        }
    }

    fn level(&mut self, kind: RangeKind) -> &mut Level {
        match kind {
            RangeKind::Anonymous => &mut self.anonymous,
            RangeKind::File => &mut self.file_backed,
            RangeKind::Pool(domain) => &mut self.pools[domain as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(ranges: &[(u64, u64)]) -> RangeMap {
        let mut map = RangeMap::default();
        for &(start, end) in ranges {
            map.insert(
                start,
                Range { end, stack: StackId::new(1), kind: RangeKind::Anonymous, born: Ticks(1) },
                &mut |_, _, _| (),
            );
        }
        map
    }

    fn remove(map: &mut RangeMap, start: u64, end: u64) -> u64 {
        let before = map.anonymous().bytes;
        let mut change = 0;
        let mut told = |_: &Range, bytes: u64, came| {
            change += if came { bytes as i64 } else { -(bytes as i64) };
        };
        let removed = map.remove(start, end, &mut told);
        assert_eq!(map.anonymous().bytes, before.saturating_add_signed(change));
        removed
    }

    fn left(map: &RangeMap) -> Vec<(u64, u64)> {
        let ranges: Vec<_> = map.iter().map(|(start, range)| (start, range.end)).collect();
        let bytes: u64 = ranges.iter().map(|(start, end)| end - start).sum();
        assert_eq!(map.anonymous(), Level::exact(bytes, ranges.len() as u64));
        ranges
    }

    #[test]
    fn unmapping_takes_wholes_ends_and_middles() {
        let mut map = mapped(&[(10, 20), (30, 40), (50, 90)]);
        assert_eq!(remove(&mut map, 15, 35), 10);
        assert_eq!(left(&map), [(10, 15), (35, 40), (50, 90)]);
        assert_eq!(remove(&mut map, 60, 70), 10);
        assert_eq!(left(&map), [(10, 15), (35, 40), (50, 60), (70, 90)]);
        assert_eq!(remove(&mut map, 0, 100), 40);
        assert_eq!(left(&map), []);
        assert_eq!(remove(&mut map, 0, 100), 0);
    }

    #[test]
    fn a_fixed_mapping_replaces_what_it_covers() {
        let mut map = mapped(&[(10, 50)]);
        map.insert(
            20,
            Range { end: 30, stack: StackId::new(2), kind: RangeKind::File, born: Ticks(1) },
            &mut |_, _, _| (),
        );
        assert_eq!(map.anonymous(), Level::exact(30, 2));
        assert_eq!(map.file_backed(), Level::exact(10, 1));
        assert_eq!(map.get(20).unwrap().stack, StackId::new(2));
        assert_eq!(map.get(30).unwrap().stack, StackId::new(1));
    }

    #[test]
    fn ranges_that_end_where_others_begin_do_not_touch() {
        let mut map = mapped(&[(10, 20), (20, 30)]);
        assert_eq!(remove(&mut map, 20, 20), 0);
        assert_eq!(remove(&mut map, 20, 30), 10);
        assert_eq!(left(&map), [(10, 20)]);
    }
}
