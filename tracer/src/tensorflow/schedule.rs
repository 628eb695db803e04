//! The doors through which TensorFlow's threads hand work to one another.
//!
//! `tsl::thread::ThreadPool` is Eigen's pool, whose functions are weak symbols that its vtable
//! refers to; `tf.data` and `fit` use worker threads of their own. All take a
//! `std::function<void()>` by invisible reference: in the second argument's register.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering};

use super::framework;
use crate::arch::{EntryRegisters, before_scheduling};
use crate::record::scheduled::{self, Function};

before_scheduling!(
    /** `Eigen::ThreadPoolTempl<tsl::thread::EigenEnvironment>::Schedule(std::function<void()>)`. */
    _ZN5Eigen15ThreadPoolTemplIN3tsl6thread16EigenEnvironmentEE8ScheduleESt8functionIFvvEE => prepare, 0
);
before_scheduling!(
    /** The same pool's `ScheduleWithHint(std::function<void()>, int, int)`. */
    _ZN5Eigen15ThreadPoolTemplIN3tsl6thread16EigenEnvironmentEE16ScheduleWithHintESt8functionIFvvEEii => prepare, 1
);
before_scheduling!(
    /** `tensorflow::data::BackgroundWorker::Schedule(std::function<void()>)`. */
    _ZN10tensorflow4data16BackgroundWorker8ScheduleESt8functionIFvvEE => prepare, 2
);
before_scheduling!(
    /** `tsl::UnboundedWorkQueue::Schedule(std::function<void()>)`: the long-lived threads of `tf.data`. */
    _ZN3tsl18UnboundedWorkQueue8ScheduleESt8functionIFvvEE => prepare, 3
);

const NAMES: [&CStr; 4] = [
    c"_ZN5Eigen15ThreadPoolTemplIN3tsl6thread16EigenEnvironmentEE8ScheduleESt8functionIFvvEE",
    c"_ZN5Eigen15ThreadPoolTemplIN3tsl6thread16EigenEnvironmentEE16ScheduleWithHintESt8functionIFvvEEii",
    c"_ZN10tensorflow4data16BackgroundWorker8ScheduleESt8functionIFvvEE",
    c"_ZN3tsl18UnboundedWorkQueue8ScheduleESt8functionIFvvEE",
];

/// Where the real ones are; 0 = not looked up yet.
static REAL: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// Wraps the function that is about to be scheduled; gives the address of the real scheduler.
unsafe extern "C" fn prepare(function: *mut Function, sp: u64, bp: u64, which: usize) -> u64 {
    // SAFETY: TensorFlow hands over a function that it does not use again.
    unsafe { scheduled::wrap(function, EntryRegisters { sp, bp }) };
    let known = REAL.get(which).map_or(0, |real| real.load(Ordering::Relaxed)); // Every look-up finds the same.
    if known != 0 { known } else { look_up(which) }
}

#[cold]
fn look_up(which: usize) -> u64 {
    let found = NAMES.get(which).map_or(0, |name| framework::look_up(name));
    // Another library's pool of the same name: its work is done at once, by its caller.
    let found = if found == 0 { scheduled::call_now as *const () as u64 } else { found };
    if let Some(real) = REAL.get(which) {
        real.store(found, Ordering::Relaxed);
    }
    found
}
