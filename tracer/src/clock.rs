//! Stamps. A free is stamped before the real free, an allocation after the real allocation and later than
//! the free that left its address last, so an address that another thread gets next is always seen freed first.

use core::sync::atomic::{AtomicU64, Ordering};

use tftrace_format::Ticks;
use tftrace_format::header::ClockKind;

use crate::arch;
use crate::system_call::{self, clock_ns};

/// A tick has 2 to the power of this many counts of the clock: 12 nanoseconds on most machines, 32 of
/// `CLOCK_MONOTONIC`. A hook takes longer, so a block never dies in the tick in which it came to life; that it comes to
/// life again in the tick in which it died is allowed for, as frees are first. Finer times are noise to whoever
/// compresses them.
pub(crate) const TICK_BITS: u32 = 5;

const NANOSECONDS: u64 = 1_000_000_000;

/// The clock of a process, fixed when its trace begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) kind: ClockKind,
    /// What the clock counts to at tick 0.
    pub(crate) origin: u64,
    /// `CLOCK_MONOTONIC` at tick 0, in nanoseconds.
    pub(crate) monotonic_origin: u64,
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    ns: u64,
    counts: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { ns: clock_ns(libc::CLOCK_MONOTONIC), counts: arch::ticks() }
    }
}

/// Estimated once per program, not per fork. 0 = not yet.
static TICKS_PER_SECOND: AtomicU64 = AtomicU64::new(0);

impl Clock {
    /// Chooses the clock: the processor's counter where the kernel trusts it itself.
    pub(crate) fn start() -> Self {
        let kind = if arch::ticks_are_invariant() && kernel_trusts_counter() {
            ClockKind::Tsc
        } else {
            ClockKind::Monotonic
        };
        let now = match kind {
            ClockKind::Tsc => arch::ticks(),
            ClockKind::Monotonic => clock_ns(libc::CLOCK_MONOTONIC),
        };
        let origin = now.saturating_sub(1 << TICK_BITS);
        Self { kind, origin, monotonic_origin: clock_ns(libc::CLOCK_MONOTONIC) }
    }

    /// The time after everything that this thread has done so far. At least 1.
    #[inline(always)]
    pub(crate) fn now(&self) -> Ticks {
        self.since_origin(match self.kind {
            ClockKind::Tsc => arch::ticks(),
            ClockKind::Monotonic => clock_ns(libc::CLOCK_MONOTONIC),
        })
    }

    /// The time, which may be that of a moment before what this thread has just done: for who only asks
    /// how long ago something was.
    #[inline(always)]
    pub(crate) fn about_now(&self) -> Ticks {
        self.since_origin(match self.kind {
            ClockKind::Tsc => arch::ticks_unordered(),
            ClockKind::Monotonic => clock_ns(libc::CLOCK_MONOTONIC),
        })
    }

    #[inline(always)]
    fn since_origin(&self, now: u64) -> Ticks {
        match now.wrapping_sub(self.origin) >> TICK_BITS {
            passed if passed.wrapping_sub(1) < Ticks::MAX.0 => Ticks(passed),
            _ => self.beyond(now),
        }
    }

    /// The first tick for a counter that was set back, the last one for one that goes on beyond what a trace holds.
    #[cold]
    fn beyond(&self, now: u64) -> Ticks {
        if now.saturating_sub(self.origin) >> TICK_BITS == 0 { Ticks(1) } else { Ticks::MAX }
    }

    /// Nanoseconds of `CLOCK_MONOTONIC` since the trace began.
    pub(crate) fn monotonic_ns(&self) -> u64 {
        clock_ns(libc::CLOCK_MONOTONIC).saturating_sub(self.monotonic_origin)
    }

    /// Ticks in a second, measured the first time: since `start`, over 200 microseconds at least. The reader
    /// refines it.
    pub(crate) fn ticks_per_second(&self, start: Moment) -> u64 {
        if self.kind == ClockKind::Monotonic {
            return ticks_in_a_second(NANOSECONDS, NANOSECONDS);
        }
        let known = TICKS_PER_SECOND.load(Ordering::Relaxed); // A number of its own: nothing is ordered by it.
        if known != 0 {
            return known;
        }
        loop {
            let now = Moment::now();
            let elapsed = now.ns.saturating_sub(start.ns);
            if elapsed >= 200_000 {
                let counts = now.counts.saturating_sub(start.counts);
                let rate = ticks_in_a_second(counts, elapsed);
                TICKS_PER_SECOND.store(rate, Ordering::Relaxed);
                return rate;
            }
            core::hint::spin_loop();
        }
    }
}

/// The rate of a clock that goes on by `counts` in `ns` nanoseconds.
fn ticks_in_a_second(counts: u64, ns: u64) -> u64 {
    let counts_per_second = u128::from(counts) * u128::from(NANOSECONDS) / u128::from(ns.max(1));
    u64::try_from(counts_per_second >> TICK_BITS).unwrap_or(NANOSECONDS).max(1)
}

fn kernel_trusts_counter() -> bool {
    let path = c"/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let mut room = [0; 32];
    let name = system_call::open(path, libc::O_RDONLY, 0)
        .and_then(|file| file.read_all(&mut room).map(<[u8]>::len));
    name.is_ok_and(|len| room.get(..len).is_some_and(|name| name.starts_with(b"tsc")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_counted_from_one_and_a_counter_that_jumps_stops_at_either_end() {
        let clock = Clock { kind: ClockKind::Tsc, origin: 1 << 40, monotonic_origin: 0 };
        let at = |count: u64| clock.since_origin(count);
        assert_eq!(at((1 << 40) + (1 << TICK_BITS)), Ticks(1));
        assert_eq!(at((1 << 40) + (7 << TICK_BITS) + 31), Ticks(7));
        assert_eq!(at((1 << 40) + 3), Ticks(1), "not yet the first one");
        assert_eq!(at((1 << 40) - 1), Ticks(1), "set back");
        assert_eq!(at(0), Ticks(1), "set back to the beginning");
        assert_eq!(at(u64::MAX), Ticks::MAX);
    }

    #[test]
    fn a_second_has_as_many_ticks_as_the_header_says() {
        assert_eq!(ticks_in_a_second(2_400_000, 1_000_000), 2_400_000_000 / 32);
        assert_eq!(ticks_in_a_second(1_000, 1_000), 1_000_000_000 / 32, "nanoseconds");
        assert_eq!(ticks_in_a_second(0, 1_000), 1, "a counter that stands still");
        assert_eq!(ticks_in_a_second(u64::MAX, 1), 1_000_000_000);
        let (kind, start) = (ClockKind::Monotonic, Moment::now());
        let clock = Clock { kind, origin: 0, monotonic_origin: 0 };
        assert_eq!(clock.ticks_per_second(start), 1_000_000_000 / 32);
    }
}
