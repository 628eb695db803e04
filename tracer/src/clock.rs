//! Stamps. A free is stamped before the real free, an allocation after the real allocation and later than
//! the free that left its address last, so an address that another thread gets next is always seen freed first.

use core::sync::atomic::{AtomicU64, Ordering};

use tftrace_format::Ticks;
use tftrace_format::header::ClockKind;

use crate::arch;
use crate::system_call::{self, clock_ns};

/// The clock of a process, fixed when its trace begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) kind: ClockKind,
    /// The clock's value at tick 0.
    pub(crate) origin: u64,
    /// `CLOCK_MONOTONIC` at tick 0, in nanoseconds.
    pub(crate) monotonic_origin: u64,
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    ns: u64,
    ticks: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { ns: clock_ns(libc::CLOCK_MONOTONIC), ticks: arch::ticks() }
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
        let origin = match kind {
            ClockKind::Tsc => arch::ticks(),
            ClockKind::Monotonic => clock_ns(libc::CLOCK_MONOTONIC),
        };
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
        match now.wrapping_sub(self.origin) {
            passed if passed.wrapping_sub(1) < Ticks::MAX.0 => Ticks(passed),
            _ => self.beyond(now),
        }
    }

    /// The first tick for a counter that was set back, the last one for one that goes on beyond what a trace holds.
    #[cold]
    fn beyond(&self, now: u64) -> Ticks {
        if now <= self.origin { Ticks(1) } else { Ticks::MAX }
    }

    /// Nanoseconds of `CLOCK_MONOTONIC` since the trace began.
    pub(crate) fn monotonic_ns(&self) -> u64 {
        clock_ns(libc::CLOCK_MONOTONIC).saturating_sub(self.monotonic_origin)
    }

    /// Ticks in a second, measured the first time: since `start`, over 200 microseconds at least. The reader
    /// refines it.
    pub(crate) fn ticks_per_second(&self, start: Moment) -> u64 {
        if self.kind == ClockKind::Monotonic {
            return 1_000_000_000;
        }
        let known = TICKS_PER_SECOND.load(Ordering::Relaxed); // A number of its own: nothing is ordered by it.
        if known != 0 {
            return known;
        }
        loop {
            let now = Moment::now();
            let elapsed = now.ns.saturating_sub(start.ns);
            if elapsed >= 200_000 {
                let ticks = now.ticks.saturating_sub(start.ticks);
                let rate = u128::from(ticks) * 1_000_000_000 / u128::from(elapsed);
                let rate = u64::try_from(rate).unwrap_or(1_000_000_000).max(1);
                TICKS_PER_SECOND.store(rate, Ordering::Relaxed);
                return rate;
            }
            core::hint::spin_loop();
        }
    }
}

fn kernel_trusts_counter() -> bool {
    let path = c"/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let mut room = [0; 32];
    let name = system_call::open(path, libc::O_RDONLY, 0)
        .and_then(|file| file.read_all(&mut room).map(<[u8]>::len));
    name.is_ok_and(|len| room.get(..len).is_some_and(|name| name.starts_with(b"tsc")))
}
