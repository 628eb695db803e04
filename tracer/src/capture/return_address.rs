//! Whether the return addresses of kept frames still stand where they stood.
//!
//! Only compares: what else a frame depends on is asked of the frame itself.

/// What of a kept frame is compared for every stack: by itself, so that little memory is read.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct ReturnAddress {
    /// Where it stands.
    slot: *const u64,
    address: u64,
}

/// Where the return address of a frame stands that asks for a closer look.
static NEVER: u64 = 0;

impl ReturnAddress {
    /// The return address that stands at `slot`.
    pub(super) fn new(slot: u64, address: u64) -> Self {
        Self { slot: slot as *const u64, address }
    }

    /// One that never stands: a closer look is to be taken at its frame.
    pub(super) const CLOSER_LOOK: Self = Self { slot: &raw const NEVER, address: !NEVER };

    /// Whether it is [`Self::CLOSER_LOOK`].
    #[inline(always)]
    pub(super) fn asks_for_a_closer_look(&self) -> bool {
        core::ptr::eq(self.slot, &raw const NEVER)
    }
}

/// How many of these, from the first on, stand where they stood.
///
/// # Safety
/// All places are words of a mapped stack.
#[inline(always)]
pub(super) unsafe fn leading_that_stand(places: &[ReturnAddress]) -> usize {
    // SAFETY: our caller promises it.
    let stands = |at: &ReturnAddress| unsafe { at.slot.read() } == at.address;
    let mut left = places;
    // Eight at a time: a good part of the cost of a comparison would be that of the loop around it.
    while let [a, b, c, d, e, f, g, h, rest @ ..] = left
        && stands(a)
        && stands(b)
        && stands(c)
        && stands(d)
        && stands(e)
        && stands(f)
        && stands(g)
        && stands(h)
    {
        left = rest;
    }
    while let [at, rest @ ..] = left
        && stands(at)
    {
        left = rest;
    }
    places.len().wrapping_sub(left.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_changed_ends_the_count() {
        let mut stack: Vec<u64> = (100..120).collect();
        let place = |stack: &[u64], index: usize| (&raw const stack[index]) as u64;
        // Root first: the highest place.
        let mut places: Vec<ReturnAddress> = (0..20)
            .rev()
            .map(|index| ReturnAddress::new(place(&stack, index), stack[index]))
            .collect();
        // SAFETY: all places are in `stack`.
        let standing = |places: &[ReturnAddress]| unsafe { leading_that_stand(places) };
        assert_eq!(standing(&places), 20);
        for index in 0..20 {
            assert_eq!(standing(&places[..index]), index);
            let kept = core::mem::replace(&mut stack[index], 7);
            assert_eq!(standing(&places), 19 - index);
            stack[index] = kept;
        }
        for index in (0..20).rev() {
            places[index] = ReturnAddress::CLOSER_LOOK;
            assert!(places[index].asks_for_a_closer_look());
            assert_eq!(standing(&places), index);
        }
    }
}
