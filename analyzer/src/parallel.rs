//! Two things at once.

use std::panic::resume_unwind;
use std::thread::{Builder, available_parallelism, scope};

/// Does both: `beside` in another thread, where the system has one and a processor for it.
pub fn both<A: Send, B>(beside: impl Fn() -> A + Sync, here: impl FnOnce() -> B) -> (A, B) {
    if available_parallelism().is_ok_and(|processors| processors.get() == 1) {
        return (beside(), here());
    }
    scope(|scope| {
        let other = Builder::new().spawn_scoped(scope, &beside);
        let here = here();
        let beside = match other {
            Ok(other) => other.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => beside(),
        };
        (beside, here)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_done_and_a_panic_of_either_is_ones_own() {
        let words = ["a", "b"];
        assert_eq!(both(|| words.len(), || words[0]), (2, "a"));
        let panics = || -> u8 { panic!("beside") };
        let caught = std::panic::catch_unwind(|| both(panics, || 1)).unwrap_err();
        assert_eq!(caught.downcast_ref::<&str>(), Some(&"beside"));
    }
}
