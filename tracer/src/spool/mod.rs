//! Pages of the trace file, mapped: the only door between the hooks and the drain.
//!
//! The file is mapped as it is used, and its descriptor closed at once. What is written
//! into a page is in the file, however the process ends. [`chunk_log`] appends chunks.

pub(crate) mod chunk_log;
pub(crate) mod file;
mod file_growth;
mod free_pages;
mod residence;
mod resizing;
mod runs;
mod segments;

use core::num::NonZeroU64;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use tftrace_format::Ticks;
use tftrace_format::check;
use tftrace_format::counters::{COUNTERS_PAGE, Counter};
use tftrace_format::page::{PAGE_BYTES, PAGE_MAGIC, PageHeader, PageKind};

use crate::system_call;
use chunk_log::RUN_PAGES;
use file::SpoolFile;
use free_pages::FreePages;
use residence::Residence;
use resizing::Resizing;

/// Number of a page in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageIndex(pub(crate) u32);

/// Open pages that are lent to threads at most, by which they have more than one of a kind.
pub(crate) const MOST_LENT: u32 = 512;
/// At most so many pages are made ready for writing at a time.
const READY_STEP: u64 = 32;
/// So many are left for what happens when a process has ended in good order.
const LATE_PAGES: u64 = 16;

/// What the drain needs to know of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum PageState {
    /// Never taken, or given back.
    Free = 0,
    /// A hook writes to it, or it stays as it is.
    Open = 1,
    /// Full: whoever sees this state owns the page.
    Full = 2,
    /// The first page of a run of chunks that is not read again.
    Run = 3,
    /// Given back, and never taken again.
    Unused = 4,
    /// The first page of a run of chunks that a compaction reads.
    Compacted = 5,
}

/// The mapped trace file.
#[derive(Debug)]
pub(crate) struct Spool {
    file: SpoolFile,
    /// Pages that the file has room for.
    limit: AtomicU64,
    /// Pages that were ever taken.
    taken: AtomicU64,
    /// Pages that have blocks on the disk: touching them cannot fail.
    ready: AtomicU64,
    /// Pages that were given back.
    free: FreePages,
    /// [`PageState`] of every page; private memory, one byte per page.
    states: *mut AtomicU8,
    residence: Residence,
    resizing: Resizing,
    next_serial: AtomicU64,
    /// Until when nobody asks a full disk again.
    full_until: AtomicU64,
    /// Pages that the file may have while no drain runs.
    cap: AtomicU64,
    /// Whether a drain runs, or did.
    is_drained: AtomicBool,
    /// Pages whose blocks were given back to the file system.
    punched: AtomicU64,
    /// Open pages that can be lent.
    lendable: AtomicU32,
}

/// How long a full disk is left alone: about a tenth of a second, whichever clock counts.
const FULL_TICKS: u64 = 1 << 23;

// SAFETY: the pointers are to mappings that stay for ever, and are used through atomics or by the
// one owner that a page's state names.
unsafe impl Sync for Spool {}
// SAFETY: as above.
unsafe impl Send for Spool {}

impl Spool {
    /// Takes over a mapped file whose first two pages are written.
    pub(crate) fn new(file: SpoolFile, bound: Option<NonZeroU64>) -> Option<Self> {
        let pages = file.most_pages() as usize;
        let states = system_call::map_private(pages).ok()?;
        Some(Self {
            limit: AtomicU64::new(file.initial_pages()),
            taken: AtomicU64::new(2),
            ready: AtomicU64::new(file.ready_pages()),
            free: FreePages::new(file.most_pages())?,
            states: states.cast(),
            residence: Residence::new(file.most_pages())?,
            resizing: Resizing::default(),
            next_serial: AtomicU64::new(1),
            full_until: AtomicU64::new(0),
            cap: AtomicU64::new(bound.map_or(u64::MAX, |bytes| bytes.get() / PAGE_BYTES as u64)),
            is_drained: AtomicBool::new(false),
            punched: AtomicU64::new(0),
            lendable: AtomicU32::new(bound.map_or(MOST_LENT, |bytes| {
                (bytes.get() / (32 * PAGE_BYTES as u64)).min(MOST_LENT.into()) as u32
            })),
            file,
        })
    }

    /// The first byte of a page.
    #[inline(always)]
    pub(crate) fn page(&self, index: PageIndex) -> *mut u8 {
        self.file.page(u64::from(index.0))
    }

    fn state(&self, index: u64) -> Option<&AtomicU8> {
        if index >= self.file.most_pages() {
            return None;
        }
        // SAFETY: one byte for every page.
        Some(unsafe { &*self.states.wrapping_add(index as usize) })
    }

    /// Takes a page, all zeros behind its header. `None`: the file cannot grow.
    pub(crate) fn take(
        &self,
        kind: PageKind,
        number: u32,
        tid: u32,
        opened: Ticks,
    ) -> Option<PageIndex> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.take_fresh(1, opened).or_else(|| self.free.pop_of_run(RUN_PAGES))?,
        };
        let serial = self.take_serial();
        self.begin(index, PageHeader { kind, serial, number, tid, opened });
        Some(index)
    }

    /// Lends so many pages, or none: a thread may have as many more open.
    ///
    /// They stay in memory, and no compaction makes them smaller: all threads together have 16 MiB of them, and a
    /// 32nd of the file where that has a bound.
    pub(crate) fn lend(&self, pages: u32) -> bool {
        let left = |lendable: u32| lendable.checked_sub(pages);
        // Relaxed: a number, which guards nothing.
        self.lendable.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok()
    }

    /// Takes back what was lent.
    pub(crate) fn take_back(&self, pages: u32) {
        self.lendable.fetch_add(pages, Ordering::Relaxed); // As above.
    }

    /// A number that no page had yet.
    pub(crate) fn take_serial(&self) -> u64 {
        self.next_serial.fetch_add(1, Ordering::Relaxed) // Unique is enough.
    }

    fn begin(&self, index: PageIndex, header: PageHeader) {
        let new = match header.kind {
            PageKind::Chunks => PageState::Run,
            PageKind::Drained | PageKind::Compacted => PageState::Compacted,
            _ => PageState::Open,
        };
        let header = header.to_wire();
        let page = self.page(index);
        if let Some(rest) = header.get(4..) {
            // SAFETY: the page is ready, larger than a header, and nobody else's yet.
            unsafe {
                core::ptr::copy_nonoverlapping(rest.as_ptr(), page.wrapping_add(4), rest.len())
            };
        }
        // SAFETY: the first word of the page, aligned, in memory that stays mapped.
        let magic = unsafe { AtomicU32::from_ptr(page.cast()) };
        // Release: a reader of the file that sees the magic sees the header.
        magic.store(PAGE_MAGIC, Ordering::Release);
        if let Some(state) = self.state(u64::from(index.0)) {
            state.store(new as u8, Ordering::Relaxed); // The owner is the caller.
        }
        self.is_back(index);
    }

    fn take_fresh(&self, pages: u64, now: Ticks) -> Option<PageIndex> {
        // Relaxed: a hint. Asking takes two system calls that fail, for every event that is lost.
        if now.0 < self.full_until.load(Ordering::Relaxed) {
            return None;
        }
        let taken = self.resizing.while_long(|| self.extend(pages));
        if taken.is_none() {
            self.full_until.store(now.0.saturating_add(FULL_TICKS), Ordering::Relaxed);
        }
        taken
    }

    #[cold]
    fn extend(&self, pages: u64) -> Option<PageIndex> {
        // Acquire/release on `taken` orders nothing but itself; the page's memory is zero already.
        let mut first = self.taken.load(Ordering::Relaxed);
        loop {
            // Pages of a run stand next to each other, also in memory.
            let segment_end = segments::end_of_segment(first);
            let start = if first.checked_add(pages)? > segment_end { segment_end } else { first };
            let end = start.checked_add(pages)?;
            // Relaxed: it is lifted once, for good.
            if end > self.cap.load(Ordering::Relaxed) {
                return None;
            }
            if end > self.limit.load(Ordering::Acquire) && !self.grow(end) {
                return None;
            }
            self.make_ready(end)?;
            match self.taken.compare_exchange_weak(first, end, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => {
                    self.raise_counter(Counter::PagesTaken, end);
                    return Some(PageIndex(u32::try_from(start).ok()?));
                }
                Err(now) => first = now,
            }
        }
    }

    /// Lets the file have room for `end` pages.
    #[cold]
    fn grow(&self, end: u64) -> bool {
        let limit = self.limit.load(Ordering::Acquire);
        let wanted = end.max(limit.saturating_mul(2)).min(self.file.most_pages());
        if wanted < end || !self.file.grow(wanted.saturating_mul(PAGE_BYTES as u64)) {
            return false;
        }
        // Release: who sees the new limit may touch the pages. Several threads may grow at once.
        self.limit.fetch_max(wanted, Ordering::Release);
        true
    }

    /// Gives every page below `end` blocks on the disk, so that a write to it cannot fail.
    fn make_ready(&self, end: u64) -> Option<()> {
        loop {
            // Acquire: pairs with the release below; the pages were populated before.
            let ready = self.ready.load(Ordering::Acquire);
            if end <= ready {
                return Some(());
            }
            let limit = self.most_ready();
            if end > limit {
                return None;
            }
            // Where little is written, little is made ready.
            let step = end.max(ready.saturating_add(ready.min(READY_STEP))).min(limit);
            let step = if self.file.populate(ready, step) {
                step
            } else if self.file.populate(ready, end) {
                end
            } else {
                return None;
            };
            self.ready.fetch_max(step, Ordering::Release);
        }
    }

    /// So many pages may have blocks now.
    fn most_ready(&self) -> u64 {
        self.limit.load(Ordering::Acquire).min(self.cap.load(Ordering::Relaxed)) // As in `extend`.
    }

    /// Makes pages ready before a hook needs them, if it would not find free ones first. For the drain.
    pub(crate) fn make_ready_ahead(&self) {
        if self.free.has_many() {
            return;
        }
        let taken = self.taken.load(Ordering::Relaxed);
        let wanted = taken.saturating_add(taken.min(READY_STEP));
        let _ = self.resizing.while_long(|| self.make_ready(wanted));
    }

    /// How many pages were ever taken.
    pub(crate) fn taken_pages(&self) -> u64 {
        self.taken.load(Ordering::Relaxed) // A figure.
    }

    /// Makes so many pages ready now; for a host that forbids it later.
    pub(crate) fn prepare(&self, pages: u64) {
        let taken = self.taken.load(Ordering::Relaxed);
        let wanted = taken.saturating_add(pages).min(self.most_ready());
        let _ = self.resizing.while_long(|| {
            // A full disk has some pages left, perhaps.
            self.make_ready(wanted).or_else(|| self.make_ready(taken.saturating_add(READY_STEP)))
        });
    }

    /// Hands a full page to the drain. The caller does not touch it again.
    #[inline]
    pub(crate) fn hand_over(&self, index: PageIndex) {
        self.leave_full(index);
        if let Some(state) = self.state(u64::from(index.0)) {
            // Release: the drain that sees the state sees the page's entries.
            state.store(PageState::Full as u8, Ordering::Release);
        }
    }

    /// Calls `found` with every full page. For the drain, which is their only consumer.
    pub(crate) fn each_full(&self, mut found: impl FnMut(PageIndex) -> bool) {
        for index in 2..self.taken.load(Ordering::Relaxed) {
            let Some(state) = self.state(index) else { return };
            // Acquire: pairs with the release in `hand_over`.
            if state.load(Ordering::Acquire) == PageState::Full as u8 {
                state.store(PageState::Open as u8, Ordering::Relaxed); // Only the drain looks for Full.
                if !found(PageIndex(index as u32)) {
                    return;
                }
            }
        }
    }

    /// Empties a page whose entries stand elsewhere now, for its next use.
    ///
    /// # Safety
    /// The caller owns the page and does not touch it afterwards.
    pub(crate) unsafe fn give_back(&self, index: PageIndex) {
        let page = self.page(index);
        // SAFETY: the first word of the page, aligned; nobody else writes the page now.
        unsafe { AtomicU32::from_ptr(page.cast()) }.store(0, Ordering::Release);
        // SAFETY: the page is the caller's alone.
        unsafe { page.wrapping_add(4).write_bytes(0, PAGE_BYTES - 4) };
        let Some(state) = self.state(u64::from(index.0)) else { return };
        state.store(PageState::Free as u8, Ordering::Relaxed); // Published with the page.
        self.free.push(index, || self.leave_soon(index));
    }

    fn counter(&self, counter: Counter) -> &AtomicU64 {
        let place = COUNTERS_PAGE * PAGE_BYTES + counter.offset();
        // SAFETY: inside page 1, which is ready, aligned to eight bytes, and written by atomics only.
        unsafe { AtomicU64::from_ptr(self.file.base().wrapping_add(place).cast()) }
    }

    fn change_counter(&self, counter: Counter, change: impl Fn(u64) -> u64) {
        let word = self.counter(counter);
        let mut old = word.load(Ordering::Relaxed); // A number of its own: nothing is ordered by it.
        loop {
            let value = if old == 0 { 0 } else { check::open(old, 0).unwrap_or(0) };
            let new = check::seal(change(value), 0);
            match word.compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// Adds to a counter of the trace.
    #[cold]
    pub(crate) fn count(&self, counter: Counter, amount: u64) {
        self.change_counter(counter, |value| value.saturating_add(amount));
    }

    /// Stores a counter that makes other things exist.
    pub(crate) fn commit(&self, counter: Counter, value: u64) {
        // Release: whoever sees the value sees what was written before.
        self.counter(counter).store(check::seal(value, 0), Ordering::Release);
    }

    /// Makes a counter as large as this, if it is not.
    pub(crate) fn raise_counter(&self, counter: Counter, at_least: u64) {
        self.change_counter(counter, |value| value.max(at_least));
    }

    /// Gives back what of the file is not used, but for some room for late events.
    pub(crate) fn shorten(&self) {
        let keep = || self.taken.load(Ordering::Relaxed).saturating_add(LATE_PAGES);
        let is_ready = self.resizing.while_long(|| self.make_ready(keep())).is_some();
        self.empty_unused(is_ready);
        self.resizing.shorten(|| {
            // Relaxed: nobody changes any of these now.
            let keep = keep();
            if keep < self.limit.fetch_min(keep, Ordering::Relaxed) {
                self.ready.fetch_min(keep, Ordering::Relaxed);
                self.file.shorten(keep.saturating_mul(PAGE_BYTES as u64));
            }
        });
    }

    /// Asks the kernel to write everything to the disk now.
    pub(crate) fn write_back(&self) -> Result<(), system_call::Errno> {
        self.file.write_back(self.taken.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
impl Spool {
    /// One whose file is gone already.
    pub(crate) fn for_test(bound: Option<NonZeroU64>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed); // Unique is enough.
        let (folder, id) = (std::env::temp_dir(), std::process::id());
        let name = std::format!("{}/tftrace-spool-{id}-{number}", folder.display());
        let mut path = crate::process::path::PathBuffer::new();
        path.push(name.as_bytes()).unwrap();
        let spool = Self::new(SpoolFile::create(&path).unwrap(), bound).unwrap();
        std::fs::remove_file(&name).unwrap();
        spool
    }

    /// How many pages were handed over since the last call.
    pub(crate) fn take_full(&self) -> u32 {
        let mut count = 0;
        self.each_full(|_| {
            count += 1;
            true
        });
        count
    }
}
