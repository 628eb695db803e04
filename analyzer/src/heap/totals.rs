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
}

impl Level {
    /// One more block.
    pub fn add(&mut self, bytes: u64) {
        self.add_all(Level { bytes, blocks: 1 });
    }

    /// More blocks.
    pub fn add_all(&mut self, more: Level) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.blocks = self.blocks.saturating_add(more.blocks);
    }

    /// One block less.
    pub fn remove(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.blocks = self.blocks.saturating_sub(1);
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
