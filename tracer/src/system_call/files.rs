//! Files and their paths.

use core::ffi::CStr;

use super::{Errno, call};

/// A file descriptor that is closed when dropped.
#[derive(Debug)]
pub(crate) struct OpenFile(usize);

impl Drop for OpenFile {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours, and dropped once.
        let _ = unsafe { call(libc::SYS_close, [self.0, 0, 0, 0, 0, 0]) };
    }
}

/// Opens a file; `O_CLOEXEC` is added.
pub(crate) fn open(path: &CStr, flags: i32, mode: u32) -> Result<OpenFile, Errno> {
    let flags = (flags | libc::O_CLOEXEC) as usize;
    let arguments = [libc::AT_FDCWD as usize, path.as_ptr() as usize, flags, mode as usize, 0, 0];
    // SAFETY: `path` ends with a zero byte and lives through the call.
    unsafe { call(libc::SYS_openat, arguments) }.map(OpenFile)
}

impl OpenFile {
    /// Reads until `room` is full or the file ends; gives what was read.
    pub(crate) fn read_all<'a>(&self, room: &'a mut [u8]) -> Result<&'a [u8], Errno> {
        let mut len = 0;
        while let Some(rest) = room.get_mut(len..).filter(|rest| !rest.is_empty()) {
            let arguments = [self.0, rest.as_mut_ptr() as usize, rest.len(), 0, 0, 0];
            // SAFETY: `rest` is writable for its whole length.
            match unsafe { call(libc::SYS_read, arguments) } {
                Ok(0) => break,
                Ok(read) => len = len.saturating_add(read),
                Err(libc::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(room.get(..len).unwrap_or_default())
    }

    /// Opens a file below this directory, for reading.
    pub(crate) fn open_below(&self, path: &CStr) -> Result<OpenFile, Errno> {
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
        // SAFETY: `path` ends with a zero byte and lives through the call.
        unsafe { call(libc::SYS_openat, [self.0, path.as_ptr() as usize, flags, 0, 0, 0]) }
            .map(OpenFile)
    }

    /// Writes all bytes.
    pub(crate) fn write_all(&self, bytes: &[u8]) -> Result<(), Errno> {
        write(self.0, bytes)
    }

    /// Sets the file's length in bytes.
    pub(crate) fn set_len(&self, len: u64) -> Result<(), Errno> {
        // SAFETY: takes numbers only.
        unsafe { call(libc::SYS_ftruncate, [self.0, len as usize, 0, 0, 0, 0]) }.map(drop)
    }

    /// Reserves disk space for the first `len` bytes.
    pub(crate) fn allocate(&self, len: u64) -> Result<(), Errno> {
        // SAFETY: takes numbers only.
        unsafe { call(libc::SYS_fallocate, [self.0, 0, 0, len as usize, 0, 0]) }.map(drop)
    }

    /// Maps the file's first `len` bytes, shared and writable.
    pub(crate) fn map_shared(&self, len: usize) -> Result<*mut u8, Errno> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
        let flags = (libc::MAP_SHARED | libc::MAP_NORESERVE) as usize;
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        unsafe { call(libc::SYS_mmap, [0, len, protection, flags, self.0, 0]) }
            .map(|at| at as *mut u8)
    }

    /// Maps `len` bytes of the file from a page's beginning on, to read them.
    pub(crate) fn map_to_read(&self, offset: u64, len: usize) -> Result<*mut u8, Errno> {
        let (protection, flags) = (libc::PROT_READ as usize, libc::MAP_PRIVATE as usize);
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let at =
            unsafe { call(libc::SYS_mmap, [0, len, protection, flags, self.0, offset as usize]) }?;
        // A host that locks all it maps (`mlockall`) does not mean this.
        // SAFETY: the mapping was made just above; what it holds stays.
        let _ = unsafe { call(libc::SYS_munlock, [at, len, 0, 0, 0, 0]) };
        Ok(at as *mut u8)
    }

    /// Asks the file's driver for something (`ioctl`).
    ///
    /// # Safety
    /// `argument` is what the request asks for.
    pub(crate) unsafe fn control(&self, request: usize, argument: *mut u8) -> Result<usize, Errno> {
        // SAFETY: our caller promises it.
        unsafe { call(libc::SYS_ioctl, [self.0, request, argument as usize, 0, 0, 0]) }
    }

    /// What is known of the file.
    pub(crate) fn status(&self) -> Result<libc::stat, Errno> {
        // SAFETY: a `stat` of zeros is valid.
        let mut stat: libc::stat = unsafe { core::mem::zeroed() };
        // SAFETY: `stat` is writable, and the kernel's layout is libc's on this architecture.
        unsafe { call(libc::SYS_fstat, [self.0, (&raw mut stat) as usize, 0, 0, 0, 0]) }?;
        Ok(stat)
    }

    /// The file's device and inode.
    pub(crate) fn identity(&self) -> Result<FileIdentity, Errno> {
        self.status().map(|stat| FileIdentity::of(&stat))
    }
}

/// Writes all bytes to a descriptor that is not ours.
pub(crate) fn write(fd: usize, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        // SAFETY: `bytes` is readable for its whole length.
        match unsafe { call(libc::SYS_write, [fd, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0]) }
        {
            Ok(0) => return Err(libc::EIO),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(libc::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileIdentity {
    fn of(stat: &libc::stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// What is known of the file under a path; links are not followed.
pub(crate) fn status_of(path: &CStr) -> Result<libc::stat, Errno> {
    // SAFETY: a `stat` of zeros is valid.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    let flags = libc::AT_SYMLINK_NOFOLLOW as usize;
    let place = (&raw mut stat) as usize;
    // SAFETY: `path` ends with a zero byte, `stat` is writable.
    unsafe {
        call(
            libc::SYS_newfstatat,
            [libc::AT_FDCWD as usize, path.as_ptr() as usize, place, flags, 0, 0],
        )
    }?;
    Ok(stat)
}

/// The identity of the file under a path; links are not followed.
pub(crate) fn identity_of(path: &CStr) -> Result<FileIdentity, Errno> {
    status_of(path).map(|stat| FileIdentity::of(&stat))
}

/// Renames a file; fails with `EEXIST` if the new name is taken.
pub(crate) fn rename_new(from: &CStr, to: &CStr) -> Result<(), Errno> {
    let here = libc::AT_FDCWD as usize;
    let flags = libc::RENAME_NOREPLACE as usize;
    // SAFETY: both paths end with a zero byte.
    unsafe {
        call(
            libc::SYS_renameat2,
            [here, from.as_ptr() as usize, here, to.as_ptr() as usize, flags, 0],
        )
    }
    .map(drop)
}

/// Reads where a symbolic link points; gives the part of `room` that was filled.
pub(crate) fn read_link<'a>(path: &CStr, room: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let arguments = [
        libc::AT_FDCWD as usize,
        path.as_ptr() as usize,
        room.as_mut_ptr() as usize,
        room.len(),
        0,
        0,
    ];
    // SAFETY: `room` is writable for its whole length.
    let len = unsafe { call(libc::SYS_readlinkat, arguments) }?;
    Ok(room.get(..len).unwrap_or_default())
}

/// The current directory; gives the part of `room` that was filled, without the final zero.
pub(crate) fn current_directory(room: &mut [u8]) -> Result<&[u8], Errno> {
    // SAFETY: `room` is writable for its whole length.
    let len =
        unsafe { call(libc::SYS_getcwd, [room.as_mut_ptr() as usize, room.len(), 0, 0, 0, 0]) }?;
    Ok(room.get(..len.saturating_sub(1)).unwrap_or_default())
}
