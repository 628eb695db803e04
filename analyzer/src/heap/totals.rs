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
pub struct StackTotals(FxHashMap<TotalsKey, Level>);

impl StackTotals {
    /// Adds blocks to a stack.
    pub fn add(&mut self, key: TotalsKey, more: Level) {
        self.0.entry(key).or_default().add_all(more);
    }

    /// Adds what a site has to its stack, if it has anything and is memory of one of these domains.
    pub(super) fn add_of(&mut self, key: Option<TotalsKey>, level: Level, domains: &[Domain]) {
        if let Some(key) = key.filter(|(of, _)| level.blocks > 0 && domains.contains(of)) {
            self.add(key, level);
        }
    }

    /// What a stack has.
    pub fn get(&self, key: TotalsKey) -> Level {
        self.0.get(&key).copied().unwrap_or_default()
    }

    /// The stacks, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (TotalsKey, Level)> + '_ {
        self.0.iter().map(|(&key, &level)| (key, level))
    }

    /// Everything together.
    pub fn sum(&self) -> Level {
        let mut sum = Level::default();
        self.0.values().for_each(|&level| sum.add_all(level));
        sum
    }
}
