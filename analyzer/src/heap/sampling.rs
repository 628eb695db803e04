//! What a sampled block stands for: the estimate that a sample of the bytes gives of all of them.
//!
//! A block of s bytes is in the sample with the chance p = 1 - exp(-s / period). Every sampled block
//! stands for 1/p blocks (Horvitz and Thompson, J. Amer. Statist. Assoc. 47, 1952): a sum over them is
//! right in the mean, whatever the sizes are. Its variance is estimated by the sum of s²(1-p)/p².

use tftrace_format::reader::Trace;
use tftrace_format::totals::Temporaries;
use tftrace_format::{Domain, Ticks};

use super::totals::Level;

/// How a trace was sampled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sampling {
    period: Option<f64>,
}

impl Sampling {
    /// As the trace says.
    pub fn of(trace: &Trace<'_>) -> Self {
        Self { period: trace.header().sample_period.map(|period| period.get() as f64) }
    }

    /// What a block of this size stands for. Equal blocks of equal birth stand for the same, so that
    /// what is added can be taken off again.
    pub fn block(&self, domain: Domain, size: u64, born: Ticks) -> Level {
        self.blocks(domain, size, 1, born.0)
    }

    /// What so many blocks of one size stand for.
    ///
    /// Blocks are whole: what is behind the point is rounded up as often as its value says, by
    /// `chance`, any number.
    pub fn blocks(&self, domain: Domain, size: u64, count: u64, chance: u64) -> Level {
        let (Some(period), true) = (self.period, domain.is_sampled() && size > 0) else {
            return Level::exact(size.saturating_mul(count), count);
        };
        let (size, count) = (size as f64, count as f64);
        let sampled = -(-size / period).exp_m1();
        let blocks = count / sampled;
        let up =
            f64::from((chance.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32) / 2f64.powi(32);
        Level {
            bytes: (blocks * size).round() as u64,
            blocks: (blocks + up) as u64,
            variance: (count * size * size * (1.0 - sampled) / (sampled * sampled)) as u128,
        }
    }

    /// What temporaries stand for.
    pub fn temporaries(&self, entry: &Temporaries) -> Level {
        let Temporaries { key, count } = *entry;
        let stack = key.stack.map_or(0, |stack| u64::from(stack.get()));
        self.blocks(key.domain, key.size, count, stack ^ key.size << 32 ^ count)
    }

    /// Another figure of a block, such as its bytes with what an allocator adds to them.
    pub fn scaled(&self, domain: Domain, size: u64, figure: u64) -> u64 {
        match self.period {
            Some(period) if domain.is_sampled() && size > 0 => {
                (figure as f64 / -(-(size as f64) / period).exp_m1()).round() as u64
            }
            _ => figure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(period: u64) -> Sampling {
        Sampling { period: Some(period as f64) }
    }

    #[test]
    fn without_sampling_a_block_is_itself() {
        let level = Sampling::default().blocks(Domain::Malloc, 10_001, 3, 7);
        assert_eq!(level, Level::exact(30_003, 3));
        let range = sampling(1 << 19).block(Domain::Mmap, 4096, Ticks(1));
        assert_eq!(range, Level::exact(4096, 1), "mappings are recorded in full");
    }

    #[test]
    fn a_small_block_stands_for_the_period_and_a_large_one_for_itself() {
        let small = sampling(1 << 19).block(Domain::Malloc, 16, Ticks(1));
        assert_eq!(small.bytes, (1 << 19) + 8);
        assert!((32_768..=32_769).contains(&small.blocks));
        let large = sampling(1 << 19).block(Domain::Malloc, 100 << 20, Ticks(1));
        assert_eq!(large, Level::exact(100 << 20, 1));
    }

    /// A sequence that every run repeats.
    struct Random(u64);

    impl Random {
        fn uniform(&mut self) -> f64 {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 11) as f64 + 0.5) / 2f64.powi(53)
        }
    }

    /// Sizes on both sides of the period, many times: the mean of the estimates is the truth, and what
    /// they say of their own error is how far they lie apart.
    #[test]
    fn estimates_are_right_in_the_mean_and_know_their_error() {
        const SEEDS: u64 = 2_000;
        let period = 4096;
        let sizes = [(16, 3000), (500, 400), (4096, 50), (9_001, 20), (40_000, 5)];
        let truth = sizes.iter().fold((0, 0), |sum, (size, n)| (sum.0 + size * n, sum.1 + n));
        let (mut bytes, mut squares, mut variances, mut blocks) = (0.0, 0.0, 0.0, 0.0);
        let mut outside = 0;
        for seed in 1..=SEEDS {
            let mut random = Random(seed * 0x9E37_79B9);
            let mut estimate = Level::default();
            for (size, count) in sizes {
                for at in 0..count {
                    let gap = -random.uniform().ln() * period as f64;
                    if gap <= size as f64 {
                        let born = Ticks(seed << 20 | at);
                        estimate.add_all(sampling(period).block(Domain::Malloc, size, born));
                    }
                }
            }
            let off = estimate.bytes as f64 - truth.0 as f64;
            outside += u64::from(off.abs() > 1.96 * estimate.error());
            bytes += off;
            squares += off * off;
            variances += estimate.variance as f64;
            blocks += estimate.blocks as f64 - truth.1 as f64;
        }
        let spread = (squares / SEEDS as f64).sqrt();
        let mean_error = spread / (SEEDS as f64).sqrt();
        assert!((bytes / SEEDS as f64).abs() < 4.0 * mean_error, "{bytes} of {mean_error}");
        // Blocks of 16 bytes make nearly all of the block count, and of its error.
        let block_error = (3000.0f64 * 256.0 / SEEDS as f64).sqrt();
        assert!((blocks / SEEDS as f64).abs() < 4.0 * block_error, "{blocks} of {block_error}");
        let said = (variances / SEEDS as f64).sqrt();
        assert!((0.95..1.05).contains(&(said / spread)), "{said} said, {spread} seen");
        let outside = outside as f64 / SEEDS as f64;
        assert!((0.03..0.08).contains(&outside), "{outside} outside of 95 %");
    }
}
