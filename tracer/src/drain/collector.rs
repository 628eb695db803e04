//! The thread that looks around: full pages go to the compressor, memory is sampled, slots are freed.

use core::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tftrace_format::record::RECORD_LIMIT;

use super::host_threads::HostThreads;
use super::memory_reading::Wanted;
use super::{SAMPLE_MS, take_sample};
use crate::process::{Process, sandbox};
use crate::spool::PageIndex;
use crate::stack_table::FullPages;
use crate::system_call;

/// How long it pauses where pages were full a moment ago, and at most, where none were for long.
const SHORT_PAUSE_MS: u32 = 20;
const LONG_PAUSE_MS: u32 = 100;
/// Readings of memory, and looks at whose it is, may each take at most this share of the time, as one
/// part in so many.
const SAMPLE_SHARE: u32 = 400;
const LAYOUT_PAUSE: Duration = Duration::from_secs(1);
/// What was written leaves the resident memory every second, and where the trace has grown by so many pages, 1 MiB.
const GROWN_PAGES: u64 = 32;
/// Pages that threads have open leave it so often: each 4 KiB of one that is used costs a page fault then.
const OPEN_PAUSE: Duration = Duration::from_secs(5);
/// What the first look at whose it is takes is guessed: a nanosecond for so many resident bytes.
const BYTES_SEEN_IN_A_NANOSECOND: u64 = 20;

/// Runs until the process ends, the host wants no such thread, or it has none left itself.
pub(super) fn run(process: &'static Process, pages: &Sender<PageIndex>) {
    // Files are opened only with a table of descriptors of our own: the host's is not ours to use.
    let with_files = system_call::own_descriptor_table().is_ok();
    let host_threads = HostThreads::open();
    let mut next_sample = Instant::now();
    let mut next_search = Instant::now();
    let begun = Instant::now();
    let mut next_layout = begun + LAYOUT_PAUSE;
    let mut has_looked = false;
    let mut left_at = 0;
    let mut next_open = begun + OPEN_PAUSE;
    let mut full_nodes = FullPages::new();
    let mut pause_ms = SHORT_PAUSE_MS;
    while !(sandbox::threads_must_end() || with_files && host_threads.are_gone(process)) {
        process.spool.make_ready_ahead();
        let mut has_sent = false;
        let mut send = |page| {
            has_sent = true;
            // Many pages take a while, and meanwhile tables that are wanted are read in place.
            if with_files {
                process.table_views.map_wanted(&process.objects);
            }
            pages.send(page).is_ok()
        };
        process.spool.each_full(&mut send);
        full_nodes.each(&process.stacks, &process.spool, &mut send);
        let longer = pause_ms.saturating_mul(2).min(LONG_PAUSE_MS);
        pause_ms = if has_sent { SHORT_PAUSE_MS } else { longer };
        let now = Instant::now();
        // Acquire, and Release below: a look that serves somebody begins after they asked.
        let wanted = process.layouts_wanted.load(Ordering::Acquire);
        if now >= next_layout || wanted != process.layouts_served.load(Ordering::Relaxed) {
            take_sample(process, Wanted { files: with_files, malloc: true, layout: with_files });
            has_looked = true;
            process.last_layout.store(process.clock.now().0, Ordering::Relaxed); // A figure.
            process.layouts_served.store(wanted, Ordering::Release);
            let pause = LAYOUT_PAUSE.max(now.elapsed() * SAMPLE_SHARE);
            next_layout = now + pause.max(begun.elapsed() / layouts_share(process));
        } else if now >= next_sample {
            let wanted = Wanted { files: with_files, malloc: true, layout: false };
            let resident = take_sample(process, wanted);
            if !has_looked {
                let look = Duration::from_nanos(resident / BYTES_SEEN_IN_A_NANOSECOND);
                next_layout = begun + LAYOUT_PAUSE.max(look * SAMPLE_SHARE);
            }
            // glibc walks its free lists under its locks: where that takes long, it is done seldom.
            let pause = Duration::from_millis(SAMPLE_MS).max(now.elapsed() * SAMPLE_SHARE);
            let pause = pause.max(least_pause(process, begun.elapsed()));
            next_sample = now + pause;
        }
        let grown = process.spool.taken_pages().saturating_sub(left_at);
        if now >= next_search || grown >= GROWN_PAGES {
            process.log.leave_written(&process.spool);
            left_at = process.spool.taken_pages();
        }
        if now >= next_open {
            process.spool.leave_open();
            next_open = now + OPEN_PAUSE;
        }
        if with_files {
            process.table_views.map_wanted(&process.objects);
        }
        process.table_views.look_after(&process.objects, now >= next_search);
        if now >= next_search {
            process.threads.reclaim(process);
            next_search = now + Duration::from_secs(1);
        }
        system_call::wait_while(&process.layouts_wanted, wanted, pause_ms);
    }
}

/// Between two looks at whose the memory is lies at least this part of the time since the first: they
/// are large records, so that their number grows ever slower.
fn layouts_share(process: &Process) -> u32 {
    const SHARE: u64 = 64;
    let most =
        process.settings.bound.map_or(SHARE, |bound| bound.get() / (64 * RECORD_LIMIT as u64));
    most.clamp(1, SHARE) as u32
}

/// Readings are not compacted. Where the file has a bound they take a sixteenth of it at most, by
/// being the rarer the longer the trace is.
fn least_pause(process: &Process, traced: Duration) -> Duration {
    /// A reading in the file, framed.
    const READING_BYTES: u64 = 128;
    let Some(bound) = process.settings.bound else { return Duration::ZERO };
    let most = bound.get() / (16 * READING_BYTES);
    traced / u32::try_from(most).unwrap_or(u32::MAX).max(1)
}
