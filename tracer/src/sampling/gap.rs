//! Bytes until the next sample: gaps of an exponential distribution, in integers.
//!
//! A gap is -ln(u) times the mean, rounded up, for a random u between 0 and 1. The logarithm is read
//! from a table and interpolated. Rounding up is exact here: a gap ends within s bytes with the chance
//! 1 - exp(-s / mean), which is what a reader divides by. Never uses a float: a hook that did would
//! have to save the host's registers.

use core::num::NonZeroU64;

use crate::arch;

const STEP_BITS: u32 = 10;
const STEPS: usize = 1 << STEP_BITS;

/// log2 of 1 + i/1024, in units of 2^-31. Interpolated, it is off by less than 2^-22.
#[expect(clippy::indexing_slicing, reason = "evaluated while compiling: it cannot fail later")]
static LOGARITHMS: [u32; STEPS + 1] = {
    let mut table = [0; STEPS + 1];
    let mut step = 0;
    while step < STEPS {
        table[step] = log2(step as u64);
        step += 1;
    }
    table[STEPS] = 1 << 31;
    table
};

/// Bit by bit: squaring a number doubles its logarithm, and 2 has a logarithm of 1.
const fn log2(step: u64) -> u32 {
    let one = 1u128 << 62;
    let mut number = one + ((step as u128) << (62 - STEP_BITS));
    let (mut logarithm, mut bit) = (0, 0);
    while bit < 31 {
        number = (number * number) >> 62;
        logarithm <<= 1;
        if number >= 2 * one {
            number >>= 1;
            logarithm |= 1;
        }
        bit += 1;
    }
    logarithm
}

/// The mean of all gaps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mean {
    /// The mean times ln 2, in units of 2^-24 bytes.
    scale: u64,
}

impl Mean {
    /// A mean of so many bytes, at most [`super::LARGEST_PERIOD`].
    pub(super) fn new(bytes: NonZeroU64) -> Self {
        /// ln 2, in units of 2^-64.
        const LN_2: u128 = 0xB172_17F7_D1CF_79AC;
        let bytes = u128::from(bytes.get().min(super::LARGEST_PERIOD));
        Self { scale: (bytes.wrapping_mul(LN_2) >> 40) as u64 }
    }
}

/// What makes a thread's gaps. All zeros: before the first one.
///
/// What is left of a gap stands in the thread's own block ([`arch::bytes_to_sample`]), where the entries
/// of hooks count it down: 0 before the first gap, at least 1 within one.
#[derive(Debug, Default)]
pub(crate) struct Gap {
    /// State of the generator (SplitMix64); 0 = not seeded.
    state: u64,
}

impl Gap {
    /// Whether the gap, of which so much is left, ends in a block of this size, which is allocated now.
    #[inline(always)]
    pub(super) fn ends_in(&mut self, left: &mut u64, size: u64, mean: Mean) -> bool {
        if *left == 0 {
            *left = self.draw(mean);
        }
        match left.checked_sub(size) {
            Some(rest @ 1..) => {
                *left = rest;
                false
            }
            // What comes after a sample does not depend on what was before: the rest of this block is
            // not looked at.
            _ => {
                *left = self.draw(mean);
                true
            }
        }
    }

    #[cold]
    fn draw(&mut self, mean: Mean) -> u64 {
        if self.state == 0 {
            // The moment and the place differ for every thread; mixing spreads that over all bits.
            self.state = mix(arch::ticks() ^ mix(core::ptr::from_ref(self) as u64));
        }
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        length(mix(self.state), mean)
    }
}

/// The length of a gap for 64 random bits, which are u = `random` / 2^64.
fn length(random: u64, mean: Mean) -> u64 {
    let random = random | 1;
    let zeros = random.leading_zeros();
    // u is 2^-(zeros + 1) times a number from 1 to 2, whose bits behind the point these are.
    let fraction = random.wrapping_shl(zeros) << 1;
    let step = (fraction >> (64 - STEP_BITS)) as usize;
    let between = (fraction >> (32 - STEP_BITS)) & 0xFFFF_FFFF;
    let logarithm = |step: usize| LOGARITHMS.get(step).copied().map_or(0, u64::from);
    let (low, high) = (logarithm(step), logarithm(step.wrapping_add(1)));
    let interpolated = low.wrapping_add(high.wrapping_sub(low).wrapping_mul(between) >> 32);
    let minus_log2 = (u64::from(zeros).wrapping_add(1) << 31).wrapping_sub(interpolated);
    let product = u128::from(minus_log2).wrapping_mul(u128::from(mean.scale));
    // In units of 2^-55 bytes; rounded up, so at least 1.
    ((product.wrapping_sub(1) >> 55) as u64).wrapping_add(1)
}

/// Spreads every bit over all of them.
pub(super) fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(bytes: u64) -> Mean {
        Mean::new(NonZeroU64::new(bytes).unwrap())
    }

    #[test]
    fn a_gap_is_the_logarithm_of_its_random_number() {
        for bytes in [1, 1000, 512 << 10, super::super::LARGEST_PERIOD] {
            let edges = [0, 1, 2, 3, u64::MAX, u64::MAX >> 1, 1 << 63, (1 << 63) - 1];
            for random in (0..10_000).map(mix).chain(edges) {
                let u = (random | 1) as f64 / 2f64.powi(64);
                let exact = -u.ln() * bytes as f64;
                let error = (length(random, mean(bytes)) as f64 - exact.ceil()).abs();
                assert!(error <= 1.0 + bytes as f64 * 3e-7, "{random:x}: {exact}, off by {error}");
            }
        }
    }

    /// The chance that a block is taken is the one that a reader divides by, on both sides of the mean.
    #[test]
    fn a_block_is_taken_as_often_as_a_reader_expects() {
        const BLOCKS: u32 = 400_000;
        let period = 4096;
        for (seed, size) in [(1, 16), (2, 1000), (3, 4096), (4, 10_000), (5, 60_000), (6, 0)] {
            let (mut gap, mut left) = (Gap { state: mix(seed) }, 0);
            let taken = (0..BLOCKS).filter(|_| gap.ends_in(&mut left, size, mean(period))).count();
            let chance = -(-(size as f64) / period as f64).exp_m1();
            let expected = f64::from(BLOCKS) * chance;
            let error = (expected * (1.0 - chance)).sqrt();
            let off = (taken as f64 - expected).abs();
            assert!(off <= 4.0 * error, "{size}: {taken} of {BLOCKS}, {expected} expected");
        }
    }

    #[test]
    fn threads_that_begin_together_differ() {
        let mut gaps = [Gap::default(), Gap::default()];
        let lengths = gaps.each_mut().map(|gap| {
            let mut left = 0;
            let _ = gap.ends_in(&mut left, 1, mean(1 << 40));
            left
        });
        assert_ne!(lengths[0], lengths[1]);
    }
}
