//! The file never becomes shorter while somebody takes new pages: a page that is cut off is a SIGBUS for who writes to it.
//!
//! It becomes shorter once, when the process ends in good order, with threads that may run on. Nobody waits for long:
//! a signal may have stopped whom they would wait for.

use core::sync::atomic::{AtomicU32, Ordering};

/// The file is being made shorter; below this bit stands how many take pages.
const SHORTENING: u32 = 1 << 31;
/// So often is it looked again, in some milliseconds.
const LOOKS: u32 = 50_000;

/// Who is at it.
#[derive(Debug, Default)]
pub(super) struct Resizing(AtomicU32);

impl Resizing {
    /// Takes new pages, or makes some ready. `None`, too: the file is being made shorter.
    pub(super) fn while_long<R>(&self, take: impl FnOnce() -> Option<R>) -> Option<R> {
        let begin = || self.0.fetch_add(1, Ordering::Acquire) & SHORTENING == 0;
        // Acquire: who comes after it was made shorter sees by how much. Release: who makes it shorter sees which pages
        // were taken.
        let end = || _ = self.0.fetch_sub(1, Ordering::Release);
        for _ in 0..LOOKS {
            if begin() {
                let taken = take();
                end();
                return taken;
            }
            end();
            core::hint::spin_loop();
        }
        None
    }

    /// Makes the file shorter, if nobody takes pages now.
    pub(super) fn shorten(&self, shorten: impl FnOnce()) {
        for _ in 0..LOOKS {
            // Acquire and release: as above.
            if self.0.compare_exchange(0, SHORTENING, Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                shorten();
                self.0.fetch_sub(SHORTENING, Ordering::Release);
                return;
            }
            core::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_pages_while_the_file_becomes_shorter_and_nobody_waits_for_ever() {
        let resizing = Resizing::default();
        let mut is_shorter = false;
        resizing.shorten(|| {
            assert_eq!(resizing.while_long(|| Some(1)), None);
            is_shorter = true;
        });
        let inner = resizing.while_long(|| {
            resizing.shorten(|| is_shorter = false);
            resizing.while_long(|| Some(2))
        });
        assert_eq!(inner, Some(2));
        assert!(is_shorter, "not while somebody takes pages");
        assert_eq!(resizing.0.load(Ordering::Relaxed), 0);
    }
}
