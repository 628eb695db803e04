//! Whether the return addresses of kept frames still stand where they stood.
//!
//! Only compares: what else a frame depends on is asked of the frame itself.

/// What of a kept frame is compared for every stack: by itself, so that little memory is read.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct ReturnAddress {
    /// Where it stands, below that of the frame before; 0 = the frame asks for a closer look.
    pub(super) slot: u64,
    pub(super) address: u64,
}

/// How many of these, from the first on, stand where they stood, above `start`.
///
/// # Safety
/// All places from `start` to that of the first are words of a mapped stack.
#[inline(always)]
pub(super) unsafe fn leading_that_stand(places: &[ReturnAddress], start: u64) -> usize {
    let stands = |at: &ReturnAddress| {
        // SAFETY: between the two, says our caller: places go down, and a walk read this word before.
        at.slot >= start && unsafe { (at.slot as *const u64).read() } == at.address
    };
    let mut left = places;
    // Four at a time: most of the cost of a comparison would be that of the loop around it.
    while let [a, b, c, d, rest @ ..] = left
        && stands(a)
        && stands(b)
        && stands(c)
        && stands(d)
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
    fn the_first_that_changed_or_is_below_the_stack_ends_the_count() {
        let mut stack: Vec<u64> = (100..120).collect();
        let place = |stack: &[u64], index: usize| (&raw const stack[index]) as u64;
        // Root first: the highest place.
        let places: Vec<ReturnAddress> = (0..20)
            .rev()
            .map(|index| ReturnAddress { slot: place(&stack, index), address: stack[index] })
            .collect();
        let start = place(&stack, 0);
        // SAFETY: all places are in `stack`.
        let standing = |start| unsafe { leading_that_stand(&places, start) };
        assert_eq!(standing(start), 20);
        for index in 0..20 {
            assert_eq!(standing(place(&stack, index)), 20 - index);
            let kept = core::mem::replace(&mut stack[index], 7);
            assert_eq!(standing(start), 19 - index);
            stack[index] = kept;
        }
    }
}
