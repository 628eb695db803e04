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
#[derive(Clone, Debug, Default)]
pub struct StackTotals {
    /// Without variances, which few traces have: a TensorFlow program has a million stacks.
    sums: FxHashMap<TotalsKey, (u64, u64)>,
    /// Of sums that are estimated.
    variances: FxHashMap<TotalsKey, u128>,
}

impl StackTotals {
    /// Adds blocks to a stack.
    pub fn add(&mut self, key: TotalsKey, more: Level) {
        let (bytes, blocks) = self.sums.entry(key).or_default();
        *bytes = bytes.saturating_add(more.bytes);
        *blocks = blocks.saturating_add(more.blocks);
        if more.variance > 0 {
            let variance = self.variances.entry(key).or_default();
            *variance = variance.saturating_add(more.variance);
        }
    }

    /// Adds what a site has to its stack, if it has anything and is memory of one of these domains.
    pub(super) fn add_of(&mut self, key: Option<TotalsKey>, level: Level, domains: &[Domain]) {
        if let Some(key) = key.filter(|(of, _)| level.blocks > 0 && domains.contains(of)) {
            self.add(key, level);
        }
    }

    /// What a stack has.
    pub fn get(&self, key: TotalsKey) -> Level {
        self.sums.get(&key).map_or(Level::default(), |sums| self.level(key, *sums))
    }

    /// How many stacks have any.
    pub fn len(&self) -> usize {
        self.sums.len()
    }

    /// Whether no stack has any.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// The stacks, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (TotalsKey, Level)> + '_ {
        self.sums.iter().map(|(&key, &sums)| (key, self.level(key, sums)))
    }

    /// Everything together.
    pub fn sum(&self) -> Level {
        let mut sum = Level::default();
        self.iter().for_each(|(_, level)| sum.add_all(level));
        sum
    }

    fn level(&self, key: TotalsKey, (bytes, blocks): (u64, u64)) -> Level {
        let variance = match self.variances.is_empty() {
            true => 0,
            false => self.variances.get(&key).copied().unwrap_or(0),
        };
        Level { bytes, blocks, variance }
    }
}
