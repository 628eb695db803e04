//! The trace file: created, mapped as it is used, its descriptor closed at once.
//!
//! It grows by its path, after a look that the path still names the same file.

use core::ffi::CStr;

use tftrace_format::page::PAGE_BYTES;

use super::file_growth::{move_aside, same_file_path};
use super::segments::{FIRST_PAGES, MOST_PAGES, Segments, end_of_segment};
use crate::process::path::PathBuffer;
use crate::system_call::{self, Errno, FileIdentity};

/// Room the file is given at first. It costs no disk: blocks are added as pages are taken.
const INITIAL_BYTES: u64 = 256 << 20;
/// The most that the file can grow to.
const MOST_BYTES: u64 = MOST_PAGES * PAGE_BYTES as u64;
/// The least that is of any use.
const SMALLEST_BYTES: u64 = 4 * PAGE_BYTES as u64;
/// Pages that are ready from the beginning: header, counters, and what a small program takes.
const FIRST_READY: u64 = 16;
/// Header and counters.
const LEAST_READY: u64 = 2;
/// Blocks reserved in advance where the kernel cannot populate pages on demand (before 5.14).
const FIXED_BYTES: u64 = 64 << 20;

/// The mapped file.
#[derive(Debug)]
pub(crate) struct SpoolFile {
    segments: Segments,
    most_pages: u64,
    initial_pages: u64,
    ready_pages: u64,
    path: PathBuffer,
    identity: FileIdentity,
    /// Whether blocks can be added page by page.
    populates: bool,
}

/// Why there is no trace file: the step that failed, and its error number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileError {
    pub(crate) step: &'static str,
    pub(crate) errno: Errno,
}

fn failed(step: &'static str) -> impl Fn(Errno) -> FileError {
    move |errno| FileError { step, errno }
}

impl SpoolFile {
    /// Creates the file; one that is there already is moved aside.
    pub(crate) fn create(path: &PathBuffer) -> Result<Self, FileError> {
        let file = create_new(path.as_c_str())?;
        let identity = file.identity().map_err(failed("look at"))?;
        // Growing past RLIMIT_FSIZE would send the host a SIGXFSZ.
        let bytes = INITIAL_BYTES.min(system_call::limit(libc::RLIMIT_FSIZE));
        let bytes = bytes - bytes % PAGE_BYTES as u64;
        if bytes < SMALLEST_BYTES {
            return Err(FileError { step: "size", errno: libc::EFBIG });
        }
        file.set_len(bytes).map_err(failed("size"))?;
        let (segments, most_pages) = map(&file)?;
        let mut spool = Self {
            segments,
            most_pages,
            initial_pages: most_pages.min(bytes / PAGE_BYTES as u64),
            ready_pages: 0,
            path: *path,
            identity,
            populates: true,
        };
        // What is written need not be read: a hole is, with megabytes behind it. What fails here fails below.
        let half = [0; PAGE_BYTES / 2];
        let wanted = FIRST_READY.min(spool.initial_pages);
        let _ = (0..2 * wanted).try_for_each(|_| file.write_all(&half));
        // A disk that is nearly full has room for header and counters, perhaps.
        let ready = [wanted, LEAST_READY].into_iter().find(|&pages| spool.populate(0, pages));
        spool.ready_pages = ready.unwrap_or(LEAST_READY);
        if ready.is_none() {
            spool.populates = false;
            let fixed = spool.initial_pages.min(FIXED_BYTES / PAGE_BYTES as u64);
            file.allocate(fixed * PAGE_BYTES as u64).map_err(failed("get disk space for"))?;
            spool.initial_pages = fixed;
        }
        Ok(spool)
    }

    /// The first byte of page 0.
    #[inline(always)]
    pub(crate) fn base(&self) -> *mut u8 {
        self.page(0)
    }

    /// The first byte of a page, which was populated before.
    #[inline(always)]
    pub(crate) fn page(&self, index: u64) -> *mut u8 {
        self.segments.page(index)
    }

    pub(crate) fn most_pages(&self) -> u64 {
        self.most_pages
    }

    pub(crate) fn initial_pages(&self) -> u64 {
        self.initial_pages
    }

    /// Pages that have blocks from the beginning.
    pub(crate) fn ready_pages(&self) -> u64 {
        self.ready_pages
    }

    /// Maps pages and gives them blocks on the disk. False: there are none left.
    pub(crate) fn populate(&self, from: u64, to: u64) -> bool {
        let mut from = from;
        while from < to {
            let end = to.min(end_of_segment(from));
            if to > self.most_pages || !self.segments.map(from) || !self.populate_piece(from, end) {
                return false;
            }
            from = end;
        }
        true
    }

    /// The same for pages of one segment, which is mapped.
    fn populate_piece(&self, from: u64, to: u64) -> bool {
        if !self.populates {
            return to <= self.initial_pages;
        }
        let (start, pages) = (self.page(from), to.saturating_sub(from) as usize);
        loop {
            // SAFETY: populating reads and maps pages; contents stay.
            match unsafe {
                system_call::advise(start, pages * PAGE_BYTES, libc::MADV_POPULATE_WRITE)
            } {
                Ok(()) => return true,
                Err(libc::EINTR | libc::EAGAIN) => {}
                Err(_) => return false,
            }
        }
    }

    /// Takes the blocks of pages away; they read as zeros then. False: the file system cannot.
    pub(crate) fn punch(&self, from: u64, to: u64) -> bool {
        if !self.populates || to > self.most_pages {
            return false;
        }
        let mut from = from;
        while from < to {
            let end = to.min(end_of_segment(from));
            let (start, pages) = (self.page(from), end.saturating_sub(from) as usize);
            if start.is_null() {
                return false;
            }
            let bytes = pages * PAGE_BYTES;
            // SAFETY: our caller owns these pages, which are mapped, and wants them gone.
            let done = unsafe { system_call::advise(start, bytes, libc::MADV_REMOVE) };
            if done.is_err() {
                return false;
            }
            from = end;
        }
        true
    }

    /// Takes pages of one segment out of the process's resident memory; the file keeps what they hold.
    pub(crate) fn leave(&self, from: u64, pages: u64) {
        // SAFETY: of a shared mapping of a file only the view is dropped: contents stay.
        let _ = unsafe {
            system_call::advise(self.page(from), pages as usize * PAGE_BYTES, libc::MADV_DONTNEED)
        };
    }

    /// Asks the kernel to write the first pages to the disk now.
    pub(crate) fn write_back(&self, pages: u64) -> Result<(), Errno> {
        self.segments.pieces(pages).try_for_each(|(start, len)| system_call::write_back(start, len))
    }

    /// Lengthens the file. False: not allowed, or the file is not under its path any more.
    pub(crate) fn grow(&self, bytes: u64) -> bool {
        let allowed = self.populates && bytes <= system_call::limit(libc::RLIMIT_FSIZE);
        allowed && self.resize(bytes)
    }

    /// Cuts the file's end off, which nothing uses.
    pub(crate) fn shorten(&self, bytes: u64) {
        if self.populates {
            self.resize(bytes);
        }
    }

    fn resize(&self, bytes: u64) -> bool {
        let Some(path) = same_file_path(&self.path, self.identity) else { return false };
        // Not by its path: in a directory that others can write to, a link may stand there by now.
        let flags = libc::O_WRONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        system_call::open(path.as_c_str(), flags, 0)
            .is_ok_and(|file| file.identity() == Ok(self.identity) && file.set_len(bytes).is_ok())
    }
}

fn create_new(path: &CStr) -> Result<system_call::OpenFile, FileError> {
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    for _ in 0..100 {
        match system_call::open(path, flags, 0o600) {
            Err(libc::EEXIST) => move_aside(path).map_err(failed("move aside"))?,
            result => return result.map_err(failed("create")),
        }
    }
    Err(FileError { step: "create", errno: libc::EEXIST })
}

/// Maps the beginning of the file, halving down to its least size. Gives also how many pages it may
/// ever have.
fn map(file: &system_call::OpenFile) -> Result<(Segments, u64), FileError> {
    // A program with a limited address space must not notice that we are there.
    let allowed = system_call::limit(libc::RLIMIT_AS) / 16;
    let most_pages = MOST_BYTES.min(allowed) / PAGE_BYTES as u64;
    let mut pages = most_pages.clamp(SMALLEST_BYTES / PAGE_BYTES as u64, FIRST_PAGES);
    loop {
        match Segments::new(file, pages) {
            // Further segments begin where a whole first one ends.
            Ok(segments) if pages == FIRST_PAGES => return Ok((segments, most_pages)),
            Ok(segments) => return Ok((segments, pages)),
            Err(errno) if pages / 2 < SMALLEST_BYTES / PAGE_BYTES as u64 => {
                return Err(FileError { step: "map", errno });
            }
            Err(_) => pages /= 2,
        }
    }
}
