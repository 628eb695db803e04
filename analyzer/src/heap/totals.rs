//! Bytes and blocks, of a domain or of a call stack.
//!
//! Sums saturate: a damaged size must not end the analysis.

use rustc_hash::FxHashMap;
use tftrace_format::{Domain, StackId};

/// How much memory, in how many blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level {
    /// Bytes as requested.
    pub bytes: u64,
    /// Blocks; for mmap, ranges.
    pub blocks: u64,
    /// Of `bytes`, if they were estimated from a sample: the square of their standard error. 0: exact.
    pub variance: u128,
}

impl Level {
    /// Bytes and blocks that were counted, and not estimated.
    pub const fn exact(bytes: u64, blocks: u64) -> Self {
        Self { bytes, blocks, variance: 0 }
    }

    /// The standard error of the bytes; 0: they are exact.
    pub fn error(&self) -> f64 {
        (self.variance as f64).sqrt()
    }

    /// One more block.
    pub fn add(&mut self, bytes: u64) {
        self.add_all(Level::exact(bytes, 1));
    }

    /// More blocks.
    pub fn add_all(&mut self, more: Level) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.blocks = self.blocks.saturating_add(more.blocks);
        self.variance = self.variance.saturating_add(more.variance);
    }

    /// One block less.
    pub fn remove(&mut self, bytes: u64) {
        self.remove_all(Level::exact(bytes, 1));
    }

    /// Fewer blocks.
    pub fn remove_all(&mut self, less: Level) {
        self.bytes = self.bytes.saturating_sub(less.bytes);
        self.blocks = self.blocks.saturating_sub(less.blocks);
        self.variance = self.variance.saturating_sub(less.variance);
    }
}

/// Whose memory it is and which call stack asked for it.
pub type TotalsKey = (Domain, Option<StackId>);

/// Bytes and blocks of every call stack that has any.
///
/// A list, sorted by call stack: a TensorFlow program has a million of them, most of which are only gone through.
#[derive(Clone, Debug, Default)]
pub struct StackTotals {
    /// One for each key, in the order of their words. Without variances, which few traces have.
    sums: Vec<Sum>,
    /// Of sums that are estimated, by the word of the key.
    variances: FxHashMap<u64, u128>,
}

#[derive(Clone, Copy, Debug)]
struct Sum {
    key: u64,
    bytes: u64,
    blocks: u64,
}

/// So many sums are added at least before those of one key are put together.
const TOGETHER: usize = 1 << 18;
/// A key's word has its domain in these bits, and above them the number of the stack.
const DOMAIN_BITS: u32 = 3;
const _: () = assert!(Domain::ALL.len() <= 1 << DOMAIN_BITS);

fn word_of((domain, stack): TotalsKey) -> u64 {
    u64::from(StackId::to_wire(stack)) << DOMAIN_BITS | domain as u64
}

impl Sum {
    fn key(&self) -> TotalsKey {
        let domain = Domain::ALL[(self.key % (1 << DOMAIN_BITS)) as usize];
        (domain, StackId::new((self.key >> DOMAIN_BITS) as u32))
    }
}

impl StackTotals {
    /// What a stack has.
    pub fn get(&self, key: TotalsKey) -> Level {
        let place = self.sums.binary_search_by_key(&word_of(key), |sum| sum.key);
        place.map_or(Level::default(), |place| self.level(&self.sums[place]))
    }

    /// How many stacks have any.
    pub fn len(&self) -> usize {
        self.sums.len()
    }

    /// Whether no stack has any.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// The stacks, sorted; of one stack its domains.
    pub fn iter(&self) -> impl Iterator<Item = (TotalsKey, Level)> + '_ {
        self.sums.iter().map(|sum| (sum.key(), self.level(sum)))
    }

    /// Everything together.
    pub fn sum(&self) -> Level {
        let mut sum = Level::default();
        self.iter().for_each(|(_, level)| sum.add_all(level));
        sum
    }

    fn level(&self, sum: &Sum) -> Level {
        let variance = match self.variances.is_empty() {
            true => 0,
            false => self.variances.get(&sum.key).copied().unwrap_or(0),
        };
        Level { bytes: sum.bytes, blocks: sum.blocks, variance }
    }

    fn put_together(&mut self) {
        if !self.sums.is_sorted_by(|a, b| a.key < b.key) {
            // What was put together before is a run, which this sort finds.
            self.sums.sort_by_key(|sum| sum.key);
            self.sums.dedup_by(|next, sum| {
                let same = next.key == sum.key;
                if same {
                    sum.bytes = sum.bytes.saturating_add(next.bytes);
                    sum.blocks = sum.blocks.saturating_add(next.blocks);
                }
                same
            });
        }
    }
}

impl Extend<(TotalsKey, Level)> for StackTotals {
    /// Adds to what the stacks have. One that gets nothing, of which nothing was known, has nothing then.
    fn extend<I: IntoIterator<Item = (TotalsKey, Level)>>(&mut self, more: I) {
        let mut known = self.sums.len();
        for (key, Level { bytes, blocks, variance }) in more {
            if self.sums.len() >= 2 * known + TOGETHER {
                self.put_together();
                known = self.sums.len();
            }
            let key = word_of(key);
            self.sums.push(Sum { key, bytes, blocks });
            if variance > 0 {
                let sum = self.variances.entry(key).or_default();
                *sum = sum.saturating_add(variance);
            }
        }
        self.put_together();
    }
}

impl FromIterator<(TotalsKey, Level)> for StackTotals {
    fn from_iter<I: IntoIterator<Item = (TotalsKey, Level)>>(totals: I) -> Self {
        let mut all = Self::default();
        all.extend(totals);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_sums_by_stack_and_domain_however_many_are_added() {
        let key = |domain, stack| (domain, StackId::new(stack));
        let (malloc, cuda) = (Domain::Malloc, Domain::CudaHost);
        let mut totals: StackTotals = [
            (key(cuda, u32::MAX), Level::exact(1, 1)),
            (key(malloc, 0), Level::exact(2, 1)),
            (key(cuda, 7), Level { bytes: 3, blocks: 1, variance: 5 }),
            (key(malloc, 7), Level::exact(4, 2)),
            (key(cuda, 7), Level { bytes: 10, blocks: 1, variance: 6 }),
        ]
        .into_iter()
        .collect();
        let many = (0..5 * TOGETHER).map(|at| (key(malloc, at as u32 % 3), Level::exact(1, 1)));
        totals.extend(many);
        let each = (5 * TOGETHER / 3) as u64;
        let expected = [
            (key(malloc, 0), Level::exact(each + 3, each + 2)),
            (key(malloc, 1), Level::exact(each + 1, each + 1)),
            (key(malloc, 2), Level::exact(each, each)),
            (key(malloc, 7), Level::exact(4, 2)),
            (key(cuda, 7), Level { bytes: 13, blocks: 2, variance: 11 }),
            (key(cuda, u32::MAX), Level::exact(1, 1)),
        ];
        assert_eq!(5 * TOGETHER % 3, 2, "the first two keys have one more");
        assert_eq!(totals.iter().collect::<Vec<_>>(), expected);
        assert!(totals.sums.capacity() <= 4 * TOGETHER, "{}", totals.sums.capacity());
        for (key, level) in expected {
            assert_eq!(totals.get(key), level);
        }
        assert_eq!(totals.get(key(cuda, 8)), Level::default());
        assert_eq!((totals.len(), totals.is_empty()), (6, false));
        assert_eq!(totals.sum().blocks, 5 * TOGETHER as u64 + 6);
    }
}
