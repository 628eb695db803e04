//! How much of a thread's cache is used: a page at first, and twice as much whenever entries push one another out.
//!
//! TensorFlow has dozens of threads that do little. In whole caches what they remember would lie on every page of them.

/// The part of a cache of `MOST` places that is used; both numbers are powers of two. All zeros is valid: the first
/// `LEAST` places are.
#[derive(Debug)]
pub(super) struct Extent<const LEAST: usize, const MOST: usize> {
    /// Places that are used beside the first ones, as a mask.
    more: u32,
    /// Entries that others took the place of, since it last grew.
    displaced: u32,
}

impl<const LEAST: usize, const MOST: usize> Extent<LEAST, MOST> {
    const VALID: () = assert!(LEAST.is_power_of_two() && MOST.is_power_of_two() && LEAST <= MOST);

    /// The place in the used part that a number stands for.
    #[inline(always)]
    pub(super) fn place(&self, number: usize) -> usize {
        const { Self::VALID };
        number & (self.more as usize | (LEAST - 1))
    }

    /// An entry took the place of another one.
    #[inline(always)]
    pub(super) fn displaced(&mut self) {
        self.displaced = self.displaced.wrapping_add(1);
        // Of new stacks only a part is asked for again: so many say that there is no room, and not that they are new.
        let used = (self.more as usize | (LEAST - 1)) + 1;
        if self.displaced as usize >= 2 * used && used < MOST {
            self.displaced = 0;
            self.more = (2 * used - 1) as u32;
        }
    }

    /// Another thread has the cache from now on. What is in it stays true.
    pub(super) fn begin_again(&mut self) {
        (self.more, self.displaced) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_when_its_places_were_taken_twice_and_has_an_end() {
        let mut extent = Extent::<4, 32> { more: 0, displaced: 0 };
        let mut used = Vec::new();
        for _ in 0..200 {
            used.push(extent.place(usize::MAX) + 1);
            extent.displaced();
        }
        used.dedup();
        assert_eq!(used, [4, 8, 16, 32]);
        extent.begin_again();
        assert_eq!([3, 4, 9].map(|number| extent.place(number)), [3, 0, 1]);
    }
}
