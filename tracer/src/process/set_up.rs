//! Begins a trace: at the first allocation of a program, and in every child of `fork`.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use tftrace_format::check;
use tftrace_format::counters::{COUNTERS_PAGE, Counter};
use tftrace_format::header::{HEADER_LIMIT, Header, TRACE_MAGIC};
use tftrace_format::page::PAGE_BYTES;

use super::descent::{self, Descent};
use super::path::{PathBuffer, output_path};
use super::proc_file::ProcFile;
use super::settings::{self, Parsed, Settings};
use super::switch::{self, Switch};
use super::{Process, notice};
use crate::arch;
use crate::capture::objects::ObjectTable;
use crate::capture::rule_table::RuleTable;
use crate::capture::table_views::TableViews;
use crate::clock::{Clock, Moment};
use crate::drain::own_threads::OwnThreads;
use crate::python;
use crate::real;
use crate::record::foreign::ForeignFrees;
use crate::sampling::Sampling;
use crate::spool::Spool;
use crate::spool::chunk_log::ChunkLog;
use crate::spool::file::{FileError, SpoolFile};
use crate::stack_table::StackTable;
use crate::system_call;
use crate::thread::registry::Registry;

/// Setting up needs more stack than a small thread has that forked.
const STACK_BYTES: usize = 256 * 1024;

/// The settings of the program, kept for its forked children.
struct Kept(UnsafeCell<Option<(Settings, bool)>>);
// SAFETY: written once, before any other thread can see that set-up is over.
unsafe impl Sync for Kept {}
static KEPT: Kept = Kept(UnsafeCell::new(None));

/// Begins the trace of this process. `None`: it is not to be traced, or cannot be.
pub(super) fn run() -> Option<&'static Process> {
    let stack = system_call::map_private(STACK_BYTES).ok()?;
    let mut result: Option<&'static Process> = None;
    // SAFETY: the mapping's end; nothing else uses it.
    let top = unsafe { stack.add(STACK_BYTES) };
    // SAFETY: `on_own_stack` takes a pointer to exactly this type.
    unsafe { arch::call_on_stack(on_own_stack, (&raw mut result).cast(), top) };
    // SAFETY: the call is over.
    unsafe { system_call::unmap(stack, STACK_BYTES) };
    result
}

unsafe extern "C" fn on_own_stack(argument: *mut c_void) {
    // SAFETY: `run` passes a pointer to its result.
    let result = unsafe { &mut *argument.cast::<Option<&'static Process>>() };
    *result = begin();
}

fn begin() -> Option<&'static Process> {
    let start = Moment::now();
    // SAFETY: only one thread sets up at a time, and children find it as their parent left it.
    let kept = unsafe { &mut *KEPT.0.get() };
    let (settings, own_name, forked) = match kept {
        Some((settings, own_name)) => (*settings, *own_name, true),
        None => {
            if descent::is_starter() {
                return None;
            }
            let Parsed { settings, complaint } = settings::read()?;
            let descent = descent::of_this_process();
            let is_traced = match descent {
                Descent::First => true,
                Descent::OfScript => descent::is_service(),
                Descent::OfTraced => descent::is_worker(),
            };
            if !is_traced && !settings.follow_exec {
                return None;
            }
            // Wrapper scripts end in `exec python`: the process is still the one to be traced.
            let is_first = is_traced && descent != Descent::OfTraced && !is_later_image(&settings);
            // The first program said it already.
            if let Some(complaint) = complaint.filter(|_| is_first) {
                complaint.say();
            }
            let own_name = !is_first || is_name_taken(&settings);
            if settings.start_paused {
                switch::begin_paused();
            }
            if settings.object_list {
                real::ignore_glibc();
            }
            system_call::keep_apart(arch::end_of_data());
            *kept = Some((settings, own_name));
            (settings, own_name, false)
        }
    };
    let path = output_path(&settings.output, system_call::process_id(), !forked && !own_name)?;
    match create(settings, &path, start) {
        Ok(process) => {
            process.note(&[b"tracing into ", path.as_bytes()]);
            Some(process)
        }
        Err(FileError { step, errno }) => {
            let mut number = PathBuffer::new();
            let _ = number.push_number(errno.unsigned_abs());
            notice::say(&[
                b"tftrace: ",
                path.as_bytes(),
                b": cannot ",
                step.as_bytes(),
                b" the trace file (error ",
                number.as_bytes(),
                b"); the program runs on untraced; set TFTRACE_OUTPUT to a file that can be written",
            ]);
            None
        }
    }
}

/// Whether a process that still runs has the name of the trace, as a service has beside which its health is checked.
fn is_name_taken(settings: &Settings) -> bool {
    let path = output_path(&settings.output, system_call::process_id(), true);
    path.is_some_and(|path| descent::is_of_living(path.as_c_str()))
}

/// Whether this process was traced before it executed the program that it is now.
fn is_later_image(settings: &Settings) -> bool {
    let start = descent::process_start();
    let pid = system_call::process_id();
    let own =
        [true, false].into_iter().filter_map(|plain| output_path(&settings.output, pid, plain));
    own.into_iter().any(|path| descent::is_own_trace(path.as_c_str(), start))
}

fn no_memory(step: &'static str) -> FileError {
    FileError { step, errno: libc::ENOMEM }
}

fn create(
    settings: Settings,
    path: &PathBuffer,
    start: Moment,
) -> Result<&'static Process, FileError> {
    let clock = Clock::start();
    let file = SpoolFile::create(path)?;
    let ticks_per_second = clock.ticks_per_second(start);
    let pid = system_call::process_id();
    write_header(&file, &settings, &clock, ticks_per_second, pid)
        .ok_or_else(|| no_memory("write the header of"))?;
    let tables = || {
        Some(Process {
            pid,
            settings,
            clock,
            switch: Switch::new(&file),
            spool: Spool::new(file, settings.bound)?,
            log: ChunkLog::default(),
            stacks: StackTable::new(settings.sample_period.is_some())?,
            rules: RuleTable::new()?,
            objects: ObjectTable::new()?,
            table_views: TableViews::default(),
            threads: Registry::new()?,
            foreign: ForeignFrees::new()?,
            folds_from: AtomicU64::new(0),
            sampling: match settings.sample_period {
                Some(period) => Some(Sampling::new(period)?),
                None => None,
            },
            labels: super::labels::Labels::new()?,
            ops: crate::tensorflow::op_table::OpTable::new()?,
            python: python::Place::default(),
            drain: AtomicU8::new(0),
            own_threads: OwnThreads::default(),
            layouts_wanted: AtomicU32::new(0),
            layouts_served: AtomicU32::new(0),
            last_layout: AtomicU64::new(0),
            next_sample: AtomicU64::new(0),
            ticks_per_second,
            main_stack_end: main_stack_end(),
            stack_reach: stack_reach(),
        })
    };
    let process = tables().ok_or_else(|| no_memory("get memory beside"))?;
    let place = system_call::map_private(size_of::<Process>())
        .map_err(|_| no_memory("get memory beside"))?;
    let place = place.cast::<Process>();
    // SAFETY: a private mapping that is large and aligned enough, and stays for ever.
    unsafe { place.write(process) };
    // SAFETY: written just above.
    let process = unsafe { &*place };
    switch::note_pause(process);
    Ok(process)
}

fn write_header(
    file: &SpoolFile,
    settings: &Settings,
    clock: &Clock,
    ticks_per_second: u64,
    pid: u32,
) -> Option<()> {
    let command_line = ProcFile::read(c"/proc/self/cmdline");
    let mut executable = [0; 4096];
    let header = Header {
        pid,
        parent_pid: system_call::parent_id(),
        process_start: descent::process_start(),
        ticks_per_second,
        clock_origin: clock.origin,
        wall_clock_ns: system_call::clock_ns(libc::CLOCK_REALTIME),
        clock: clock.kind,
        depth: settings.depth,
        command_line: command_line.as_ref().map_or(&[], ProcFile::bytes),
        executable: system_call::read_link(c"/proc/self/exe", &mut executable).unwrap_or_default(),
        sample_period: settings.sample_period,
        bound: settings.bound,
    };
    let mut room = [0; HEADER_LIMIT];
    let len = header.to_wire(&mut room)?;
    let rest = room.get(TRACE_MAGIC.len()..len)?;
    let after_magic = file.base().wrapping_add(TRACE_MAGIC.len());
    // SAFETY: page 0 is ready, larger than a header, and nobody else's yet.
    unsafe { core::ptr::copy_nonoverlapping(rest.as_ptr(), after_magic, rest.len()) };
    let counters = COUNTERS_PAGE * PAGE_BYTES + Counter::PagesTaken.offset();
    // SAFETY: inside page 1, aligned to eight bytes.
    let taken = unsafe { AtomicU64::from_ptr(file.base().wrapping_add(counters).cast()) };
    taken.store(check::seal(2, 0), Ordering::Relaxed); // Ordered by the magic below.
    // SAFETY: the first word of page 0, aligned.
    let magic = unsafe { AtomicU64::from_ptr(file.base().cast()) };
    // Release: a file with the magic has a header.
    magic.store(u64::from_le_bytes(TRACE_MAGIC), Ordering::Release);
    Some(())
}

/// The end of the page of the main stack that the program's path is in: no frame lies above it.
fn main_stack_end() -> u64 {
    // SAFETY: reads a number from the auxiliary vector.
    let path = unsafe { libc::getauxval(libc::AT_EXECFN) };
    if path == 0 { 0 } else { (path | 4095).saturating_add(1) }
}

fn stack_reach() -> u64 {
    const UNLIMITED: u64 = 64 << 20;
    match system_call::limit(libc::RLIMIT_STACK) {
        u64::MAX => UNLIMITED,
        limit => limit.clamp(8 << 20, 1 << 30),
    }
}
