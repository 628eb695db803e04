//! The collection of cycles that an interpreter runs when it begins to shut down, before it takes
//! anything apart: what that frees nothing held.
//!
//! Seen by what the interpreter's collector says of itself, which is only read while it is shutting
//! down. A second collection follows, when the modules are gone: it frees what was held.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tftrace_format::Ticks;

use super::layout::Collector;
use super::memory::{byte, word};

/// Nothing was seen yet, the collection is under way, or there is nothing more to be seen.
const AHEAD: u8 = 0;
const UNDER_WAY: u8 = 1;
const OVER: u8 = 2;

/// What was seen of it.
#[derive(Debug)]
pub(super) struct LastCollection {
    flags: Option<Collector>,
    /// `PyInterpreterState_Main`.
    main: Option<unsafe extern "C" fn() -> u64>,
    state: AtomicU8,
    began: AtomicU64,
    /// When it was last seen under way: what was freed later may be what comes after it.
    last_seen: AtomicU64,
    /// Collections before it, and one: 0 before the first look.
    before: AtomicU64,
}

/// A collection that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Collected {
    pub(super) began: Ticks,
    pub(super) ended: Ticks,
    /// Whether the program had left the collector on; if not, none was run.
    pub(super) enabled: bool,
}

impl LastCollection {
    pub(super) const fn new(
        flags: Option<Collector>,
        main: Option<unsafe extern "C" fn() -> u64>,
    ) -> Self {
        let [began, last_seen, before] = [const { AtomicU64::new(0) }; 3];
        Self { flags, main, state: AtomicU8::new(AHEAD), began, last_seen, before }
    }

    /// Looks at the collector of an interpreter that is shutting down; gives its collection once,
    /// when it is over.
    pub(super) fn look(&self, now: impl Fn() -> Ticks) -> Option<Collected> {
        // Relaxed, here and below: the thread that shuts the interpreter down sees all of it; what
        // others see decides nothing but which of them writes it down.
        let state = self.state.load(Ordering::Relaxed);
        if state == OVER {
            return None;
        }
        let flags = self.flags?;
        let main = self.main?;
        // SAFETY: the interpreter's own function, which reads one word.
        let interpreter = unsafe { main() };
        if interpreter == 0 {
            // It is gone already.
            return None;
        }
        // SAFETY: the main interpreter's state outlives its last collection, and the first look after
        // that is the last one.
        let collecting = unsafe { byte(interpreter.wrapping_add(flags.collecting)) }? == 1;
        // SAFETY: as above.
        let enabled = unsafe { byte(interpreter.wrapping_add(flags.enabled)) }? == 1;
        // SAFETY: as above.
        let completed = unsafe { word(interpreter.wrapping_add(flags.completed)) }?.wrapping_add(1);
        let _ = self.before.compare_exchange(0, completed, Ordering::Relaxed, Ordering::Relaxed);
        if state == AHEAD && self.before.load(Ordering::Relaxed) != completed {
            // It freed nothing, or nobody looked; this is what comes after it.
            self.state.store(OVER, Ordering::Relaxed);
            return None;
        }
        if collecting {
            self.last_seen.store(now().0, Ordering::Relaxed);
        }
        let next = match (state, collecting) {
            (AHEAD, _) if !enabled => OVER,
            (AHEAD, true) => UNDER_WAY,
            (UNDER_WAY, false) => OVER,
            _ => return None,
        };
        self.state.compare_exchange(state, next, Ordering::Relaxed, Ordering::Relaxed).ok()?;
        let last_seen = self.last_seen.load(Ordering::Relaxed);
        if next == UNDER_WAY {
            self.began.store(last_seen, Ordering::Relaxed);
            return None;
        }
        let began = Ticks(self.began.load(Ordering::Relaxed));
        Some(Collected { began, ended: Ticks(last_seen), enabled })
    }

    /// The interpreter was started again.
    pub(super) fn forget(&self) {
        self.before.store(0, Ordering::Relaxed);
        self.state.store(AHEAD, Ordering::Relaxed);
    }
}
