//! The trace file: created, mapped beyond its end, its descriptor closed at once.
//!
//! It grows by its path, after a look that the path still names the same file.

use core::ffi::CStr;

use tftrace_format::page::PAGE_BYTES;

use super::file_growth::{numbered, same_file_path};
use crate::process::path::PathBuffer;
use crate::system_call::{self, Errno, FileIdentity};

/// Room the file is given at first. It costs no disk: blocks are added as pages are taken.
const INITIAL_BYTES: u64 = 256 << 20;
/// Address space for the file to grow into.
const RESERVED_BYTES: u64 = 64 << 30;
/// The least that is of any use.
const SMALLEST_BYTES: u64 = 4 * PAGE_BYTES as u64;
/// Blocks reserved in advance where the kernel cannot populate pages on demand (before 5.14).
const FIXED_BYTES: u64 = 64 << 20;

/// The mapped file.
#[derive(Debug)]
pub(crate) struct SpoolFile {
    base: *mut u8,
    reserved_pages: u64,
    initial_pages: u64,
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
        let (base, reserved) = reserve(&file)?;
        let mut spool = Self {
            base,
            reserved_pages: reserved / PAGE_BYTES as u64,
            initial_pages: bytes.min(reserved) / PAGE_BYTES as u64,
            path: *path,
            identity,
            populates: true,
        };
        if !spool.populate(0, 2) {
            spool.populates = false;
            let fixed = FIXED_BYTES.min(bytes).min(reserved);
            file.allocate(fixed).map_err(failed("get disk space for"))?;
            spool.initial_pages = fixed / PAGE_BYTES as u64;
        }
        Ok(spool)
    }

    /// The first byte of page 0.
    #[inline(always)]
    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    pub(crate) fn reserved_pages(&self) -> u64 {
        self.reserved_pages
    }

    pub(crate) fn initial_pages(&self) -> u64 {
        self.initial_pages
    }

    /// Gives pages blocks on the disk. False: there are none left.
    pub(crate) fn populate(&self, from: u64, to: u64) -> bool {
        if !self.populates {
            return to <= self.initial_pages;
        }
        let (start, pages) = (from as usize * PAGE_BYTES, to.saturating_sub(from) as usize);
        if to > self.reserved_pages || pages == 0 {
            return pages == 0;
        }
        // SAFETY: inside the mapping.
        let start = unsafe { self.base.add(start) };
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
        let pages = to.saturating_sub(from) as usize;
        if !self.populates || to > self.reserved_pages {
            return false;
        }
        // SAFETY: inside the mapping.
        let start = unsafe { self.base.add(from as usize * PAGE_BYTES) };
        // SAFETY: our caller owns these pages and wants them gone.
        unsafe { system_call::advise(start, pages * PAGE_BYTES, libc::MADV_REMOVE) }.is_ok()
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
        same_file_path(&self.path, self.identity)
            .is_some_and(|path| system_call::truncate(path.as_c_str(), bytes).is_ok())
    }
}

fn create_new(path: &CStr) -> Result<system_call::OpenFile, FileError> {
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    for _ in 0..100 {
        match system_call::open(path, flags, 0o600) {
            Err(libc::EEXIST) => move_aside(path)?,
            result => return result.map_err(failed("create")),
        }
    }
    Err(FileError { step: "create", errno: libc::EEXIST })
}

/// Renames the file to the first free of `.1`, `.2`, …
fn move_aside(path: &CStr) -> Result<(), FileError> {
    for number in 1..100_000 {
        let Some(aside) = numbered(path, number) else { break };
        match system_call::rename_new(path, aside.as_c_str()) {
            Err(libc::EEXIST) => {}
            // Somebody else moved it first.
            Ok(()) | Err(libc::ENOENT) => return Ok(()),
            Err(errno) => return Err(FileError { step: "move aside", errno }),
        }
    }
    Err(FileError { step: "move aside", errno: libc::EEXIST })
}

/// Maps as much address space as there is, halving down to the file's least size.
fn reserve(file: &system_call::OpenFile) -> Result<(*mut u8, u64), FileError> {
    let limit = system_call::limit(libc::RLIMIT_AS);
    // A program with a limited address space must not notice that we are there.
    let mut bytes = if limit == u64::MAX { RESERVED_BYTES } else { RESERVED_BYTES.min(limit / 16) };
    bytes -= bytes % PAGE_BYTES as u64;
    loop {
        match file.map_shared(bytes as usize) {
            Ok(base) => return Ok((base, bytes)),
            Err(errno) if bytes / 2 < SMALLEST_BYTES => {
                return Err(FileError { step: "map", errno });
            }
            Err(_) => bytes = (bytes / 2).next_multiple_of(PAGE_BYTES as u64),
        }
    }
}
