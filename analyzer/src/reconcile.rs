//! Our live malloc total beside the allocator's own.

use crate::heap::AtReading;

/// The bytes that glibc on x86-64 takes for a request: a header, then rounded up to 16.
///
/// Large requests stand in mappings of their own, rounded to pages; which ones do depends on a
/// threshold that moves while a program runs, so they are counted like the others here.
pub fn chunk_bytes(size: u64) -> u64 {
    (size.saturating_add(8 + 15) & !15).max(32)
}

/// How far our figure is from the allocator's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Ours less the allocator's.
    pub bytes: i128,
    /// The same, in hundredths of the allocator's; 0 when it has nothing in use.
    pub percent: f64,
}

/// Compares the live blocks, as glibc counts them, with what glibc says is in use.
pub fn difference(at: &AtReading) -> Difference {
    let bytes = i128::from(at.chunk_bytes) - i128::from(at.malloc_in_use);
    let percent =
        if at.malloc_in_use == 0 { 0.0 } else { bytes as f64 * 100.0 / at.malloc_in_use as f64 };
    Difference { bytes, percent }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_rounded_as_glibc_rounds_them() {
        for (size, chunk) in [(0, 32), (24, 32), (25, 48), (40, 48), (41, 64), (10_001, 10_016)] {
            assert_eq!(chunk_bytes(size), chunk, "{size}");
        }
        assert_eq!(chunk_bytes(u64::MAX), !15);
    }

    #[test]
    fn the_difference_is_relative_to_the_allocators_figure() {
        let at = AtReading { bytes: 900, chunk_bytes: 990, malloc_in_use: 1000, variance: 0 };
        assert_eq!(difference(&at), Difference { bytes: -10, percent: -1.0 });
        let none = AtReading { bytes: 0, chunk_bytes: 0, malloc_in_use: 0, variance: 0 };
        assert_eq!(difference(&none).percent, 0.0);
    }
}
