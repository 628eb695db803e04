//! This process as the tracer sees it: one [`Process`] per incarnation, a child of `fork` gets its own.

mod byte_size;
mod descent;
pub(crate) mod labels;
pub(crate) mod notice;
pub(crate) mod path;
pub(crate) mod proc_file;
pub(crate) mod sandbox;
mod set_up;
pub(crate) mod settings;
pub(crate) mod switch;

use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
};

use tftrace_format::counters::Counter;

use crate::capture::objects::ObjectTable;
use crate::capture::rule_table::RuleTable;
use crate::capture::table_views::TableViews;
use crate::clock::Clock;
use crate::drain::own_threads::OwnThreads;
use crate::python;
use crate::record::foreign::ForeignFrees;
use crate::sampling::Sampling;
use crate::spool::Spool;
use crate::spool::chunk_log::ChunkLog;
use crate::stack_table::StackTable;
use crate::system_call;
use crate::thread::registry::Registry;
use settings::Settings;

/// Everything the tracer knows in one process. Lives until the kernel takes it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) spool: Spool,
    pub(crate) switch: switch::Switch,
    pub(crate) log: ChunkLog,
    pub(crate) stacks: StackTable,
    pub(crate) rules: RuleTable,
    pub(crate) objects: ObjectTable,
    pub(crate) table_views: TableViews,
    pub(crate) threads: Registry,
    pub(crate) foreign: ForeignFrees,
    /// What was allocated before this, in ticks, is no temporary, however soon it is freed: when the interpreter
    /// began to shut down; 0 = it has not.
    pub(crate) folds_from: AtomicU64,
    /// `None`: every allocation is recorded.
    pub(crate) sampling: Option<Sampling>,
    pub(crate) labels: labels::Labels,
    /// The ops that memory was for.
    pub(crate) ops: crate::tensorflow::op_table::OpTable,
    pub(crate) python: python::Place,
    /// Whether the drain was started, and whether it runs.
    pub(crate) drain: AtomicU8,
    pub(crate) own_threads: OwnThreads,
    /// How often a look at whose the memory is was asked for, how many of these the drain has served, and
    /// when its last look was over, in ticks.
    pub(crate) layouts_wanted: AtomicU32,
    pub(crate) layouts_served: AtomicU32,
    pub(crate) last_layout: AtomicU64,
    /// When a single-threaded host takes its next memory sample, in ticks.
    pub(crate) next_sample: AtomicU64,
    pub(crate) ticks_per_second: u64,
    /// The end of the main thread's stack; 0 if unknown.
    pub(crate) main_stack_end: u64,
    /// How far below its end a stack is taken to reach, in bytes.
    pub(crate) stack_reach: u64,
}

impl Process {
    /// One line for `TFTRACE_LOG`.
    pub(crate) fn note(&self, parts: &[&[u8]]) {
        notice::log(self.settings.log.as_c_str(), parts);
    }
}

/// The word says which incarnation this is: 0 = none yet, or just forked; else one of the below,
/// or the address of the [`Process`]. It stands in a page that the kernel wipes in a child.
static INCARNATION: AtomicPtr<AtomicUsize> = AtomicPtr::new(core::ptr::null_mut());
const SETTING_UP: usize = 1;
const OFF: usize = 2;

/// Events of other threads and of handlers while the process is being set up.
static MISSED: AtomicU64 = AtomicU64::new(0);

/// Outlives `fork`: a child of a process that is not traced is not traced.
static STAYS_OFF: AtomicBool = AtomicBool::new(false);

/// The process, if it is traced. Sets it up at the first call, and in a child of `fork`.
#[inline(always)]
pub(crate) fn current() -> Option<&'static Process> {
    // Acquire: who sees the address sees the page, and below, the process.
    let page = INCARNATION.load(Ordering::Acquire);
    if page.is_null() {
        return first_call();
    }
    // SAFETY: published once, mapped for ever.
    let value = unsafe { &*page }.load(Ordering::Acquire);
    if value > OFF {
        // SAFETY: values above OFF are addresses of processes that live for ever.
        return Some(unsafe { &*(value as *const Process) });
    }
    without_process(value)
}

/// This process is not traced, or not yet.
#[cold]
fn without_process(value: usize) -> Option<&'static Process> {
    match value {
        0 => return set_up_once(),
        SETTING_UP => MISSED.fetch_add(1, Ordering::Relaxed), // A count.
        _ => 0,
    };
    None
}

/// Whether this process is not traced, and will not be.
pub(crate) fn stays_untraced() -> bool {
    STAYS_OFF.load(Ordering::Relaxed) // Set once; a moment later is soon enough.
}

/// The process, if it is set up already.
#[inline(always)]
pub(crate) fn if_set_up() -> Option<&'static Process> {
    let page = INCARNATION.load(Ordering::Acquire);
    if page.is_null() {
        return None;
    }
    // SAFETY: as in `current`.
    let value = unsafe { &*page }.load(Ordering::Acquire);
    // SAFETY: as in `current`.
    (value > OFF).then(|| unsafe { &*(value as *const Process) })
}

#[cold]
fn first_call() -> Option<&'static Process> {
    if STAYS_OFF.load(Ordering::Relaxed) || !crate::real::look_up() {
        return None;
    }
    let page = system_call::map_private(4096).ok()?;
    // SAFETY: wiping concerns children only; the contents stay for this process.
    if unsafe { system_call::advise(page, 4096, libc::MADV_WIPEONFORK) }.is_err() {
        STAYS_OFF.store(true, Ordering::Relaxed);
        notice::say(&[b"tftrace: not tracing: the kernel is older than 4.14 (no MADV_WIPEONFORK)"]);
        return None;
    }
    // Release: pairs with the acquire in `current`. Losing the race leaves one unused page.
    let _ = INCARNATION.compare_exchange(
        core::ptr::null_mut(),
        page.cast(),
        Ordering::AcqRel,
        Ordering::Acquire,
    );
    set_up_once()
}

#[cold]
fn set_up_once() -> Option<&'static Process> {
    let page = INCARNATION.load(Ordering::Acquire);
    if page.is_null() {
        return None;
    }
    // SAFETY: as in `current`.
    let word = unsafe { &*page };
    // A second thread, or a signal handler, that comes meanwhile goes on untraced.
    word.compare_exchange(0, SETTING_UP, Ordering::AcqRel, Ordering::Acquire).ok()?;
    let process = if STAYS_OFF.load(Ordering::Relaxed) { None } else { set_up::run() };
    match process {
        Some(process) => {
            // Release: pairs with the acquire in `current`.
            word.store(core::ptr::from_ref(process) as usize, Ordering::Release);
            match MISSED.swap(0, Ordering::Relaxed) {
                0 => {}
                missed => process.spool.count(Counter::LostDuringSetUp, missed),
            }
        }
        None => {
            STAYS_OFF.store(true, Ordering::Relaxed);
            word.store(OFF, Ordering::Release);
        }
    }
    process
}
