//! When what is live was allocated: bytes and blocks of every site, by window.

use tftrace_format::Domain;

use crate::heap::Level;
use crate::python::free_lists;

/// What of a site's live memory was allocated in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) bytes: u64,
    site: u32,
    pub(super) blocks: u32,
    pub(super) window: u16,
    /// The size of the blocks, where it is one that Python has free lists for; else 0.
    pub(super) reused: u16,
}

/// So many blocks are added up together: a leak may have millions.
const TOGETHER: usize = 1 << 18;

/// Blocks are added, and then asked for by site.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptBySite {
    kept: Vec<Kept>,
    /// How many of these are sums, in order.
    summed: usize,
    /// Where those of each site begin, by its number; and where the last ones end.
    starts: Vec<u32>,
}

impl KeptBySite {
    /// Adds blocks.
    pub(super) fn add(&mut self, site: usize, window: usize, domain: Domain, level: Level) {
        if self.kept.len() >= 2 * self.summed + TOGETHER {
            self.put_together();
        }
        let Level { bytes, blocks, .. } = level;
        let size = bytes.checked_div(blocks).filter(|size| free_lists::may_pass_on(domain, *size));
        let reused = size.and_then(|size| u16::try_from(size).ok()).unwrap_or(0);
        let (site, window, blocks) = (site as u32, window as u16, blocks as u32);
        self.kept.push(Kept { bytes, site, blocks, window, reused });
    }

    /// Adds up what is of one site, window and size that is reused. To be called after the last block.
    pub(super) fn sum_up(&mut self) {
        self.put_together();
        self.kept.shrink_to_fit();
        self.starts.clear();
        for (at, kept) in self.kept.iter().enumerate() {
            // Of sites that have nothing too: what the next one has begins there.
            self.starts.resize(self.starts.len().max(kept.site as usize + 1), at as u32);
        }
        self.starts.push(self.kept.len() as u32);
    }

    fn put_together(&mut self) {
        let key = |kept: &Kept| (kept.site, kept.window, kept.reused);
        self.kept.sort_unstable_by_key(key);
        self.kept.dedup_by(|next, sum| {
            let same = key(next) == key(sum);
            if same {
                sum.bytes = sum.bytes.saturating_add(next.bytes);
                sum.blocks = sum.blocks.saturating_add(next.blocks);
            }
            same
        });
        self.summed = self.kept.len();
    }

    /// What a site has.
    pub(super) fn of(&self, site: usize) -> &[Kept] {
        let range = self.starts.get(site).zip(self.starts.get(site + 1));
        range.map_or(&[], |(&start, &end)| &self.kept[start as usize..end as usize])
    }

    /// The first and the last window in which a site allocated bytes that are live.
    pub(super) fn over(&self, site: usize) -> Option<(usize, usize)> {
        let kept = self.of(site).iter().filter(|kept| kept.bytes > 0);
        let mut windows = kept.map(|kept| usize::from(kept.window));
        let first = windows.next()?;
        Some((first, windows.next_back().unwrap_or(first)))
    }

    /// Gives every window a new number, and makes those of one number one.
    pub(super) fn renumber(&mut self, numbers: &[u16]) {
        for kept in &mut self.kept {
            kept.window = numbers.get(usize::from(kept.window)).copied().unwrap_or(kept.window);
        }
        self.sum_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_summed_by_site_and_window_however_many_there_are() {
        let mut kept = KeptBySite::default();
        for at in 0..3 * TOGETHER {
            kept.add(at % 3, at % 2, Domain::Malloc, Level::exact(10, 1));
        }
        kept.sum_up();
        assert!(kept.kept.capacity() < TOGETHER, "sums take no room");
        let half = (TOGETHER / 2) as u64;
        for site in 0..3 {
            let own: Vec<_> =
                kept.of(site).iter().map(|of| (of.window, of.bytes, of.blocks)).collect();
            assert_eq!(own, [(0, 10 * half, half as u32), (1, 10 * half, half as u32)]);
        }
        assert_eq!(kept.of(3), []);
        kept.add(3, 5, Domain::Malloc, Level::exact(10, 1));
        kept.add(4, 9, Domain::Malloc, Level::exact(0, 1));
        kept.sum_up();
        assert_eq!(
            [0, 3, 4, 5].map(|site| kept.over(site)),
            [Some((0, 1)), Some((5, 5)), None, None]
        );
        kept.renumber(&[7, 7]);
        let joined: Vec<_> = kept.of(1).iter().map(|of| (of.window, of.bytes)).collect();
        assert_eq!(joined, [(7, 20 * half)]);
    }
}
