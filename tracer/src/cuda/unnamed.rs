//! Functions of ours that stand in front of functions that were found by name at run time.
//!
//! Insert-only and lock-free; two threads that ask at once may get two for the same.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::functions::Function;
use crate::arch::{FIRST_UNNAMED, UNNAMED, is_unnamed, unnamed};

struct Place {
    /// What it is; stored before `real`.
    function: AtomicU32,
    /// What it stands in front of; 0 = free.
    real: AtomicU64,
}

static PLACES: [Place; UNNAMED] =
    [const { Place { function: AtomicU32::new(0), real: AtomicU64::new(0) } }; UNNAMED];
static USED: AtomicUsize = AtomicUsize::new(0);

/// The function of ours to be given out in place of a real one. With no place left, the real one:
/// it is used for as long as the process lives, and what it does is not seen.
pub(super) fn in_front_of(function: Function, real: u64) -> u64 {
    if real == 0 || is_ours(function, real) {
        return real;
    }
    let known = PLACES.iter().take(USED.load(Ordering::Acquire)).position(|place| {
        // Acquire: pairs with the release below.
        place.real.load(Ordering::Acquire) == real
            && place.function.load(Ordering::Relaxed) == function.number()
    });
    if let Some(index) = known {
        return unnamed(index);
    }
    let index = USED.fetch_add(1, Ordering::AcqRel);
    let Some(place) = PLACES.get(index) else {
        USED.store(UNNAMED, Ordering::Release);
        return real;
    };
    place.function.store(function.number(), Ordering::Relaxed);
    // Release: who sees the real one sees what it is.
    place.real.store(real, Ordering::Release);
    unnamed(index)
}

/// Whether an address is that of a function of ours.
pub(super) fn is_ours(function: Function, address: u64) -> bool {
    address == function.exported() || is_unnamed(address)
}

/// What the function of this number stands in front of.
pub(super) fn behind(number: u32) -> Option<(Function, u64)> {
    let place = PLACES.get(number.checked_sub(FIRST_UNNAMED)? as usize)?;
    // Acquire: as above.
    let real = place.real.load(Ordering::Acquire);
    Some((Function::numbered(place.function.load(Ordering::Relaxed))?, real))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_front_of_a_function_is_found_again() {
        let function = Function::named(c"cuMemAlloc_v2").unwrap();
        let ours = in_front_of(function, 0x1234_5678);
        assert!(is_ours(function, ours));
        assert_eq!(in_front_of(function, 0x1234_5678), ours);
        assert_eq!(in_front_of(function, ours), ours, "ours is not wrapped again");
        let other = in_front_of(function, 0x1234_0000);
        assert_ne!(other, ours);
        let index = (other - unnamed(0)) / 16;
        assert_eq!(behind(FIRST_UNNAMED + index as u32), Some((function, 0x1234_0000)));
        assert_eq!(in_front_of(function, 0), 0);
    }
}
