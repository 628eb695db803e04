//! Maps a file for reading, so that nothing of it is copied.
//!
//! Never writes, never locks, never waits for a pipe.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use memmap2::{Mmap, MmapOptions, UncheckedAdvice};

use crate::Error;

/// A file's bytes, where the kernel has them.
///
/// If another program cuts the file off while it is mapped, reading what is gone ends this
/// process with SIGBUS. Nothing of ours does that to bytes that were ever written: a tracer that
/// ends cuts off what it never used, and package managers replace libraries by renaming.
#[derive(Debug)]
pub struct MappedFile(Option<Arc<Mmap>>);

/// Smaller files may stay in memory.
const LARGE: usize = 64 << 20;
/// So often a large one is taken out of it: it is read at a gigabyte a second, at most.
const PAUSE: Duration = Duration::from_millis(50);

impl MappedFile {
    /// Maps the regular file at `path`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fault = |source| Error::Open { path: path.to_path_buf(), source };
        // Asked before opening: opening a pipe would wait for a writer.
        let about = fs::metadata(path).map_err(fault)?;
        if !about.is_file() {
            return Err(Error::NotAFile { path: path.to_path_buf() });
        }
        let file = File::open(path).map_err(fault)?;
        Self::of(&file, about.len()).map_err(fault)
    }

    /// Maps the first `len` bytes of an open file.
    pub(super) fn of(file: &File, len: u64) -> io::Result<Self> {
        if len == 0 {
            return Ok(Self(None));
        }
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        #[expect(unsafe_code, reason = "mapping a file is the one thing std cannot do safely")]
        // SAFETY: the mapping is read-only and private to this value. A program that still writes
        // the file (a traced process does) may change bytes that we look at; every value is
        // parsed from a copy in a register, checked, and never trusted as an index, so a change
        // is damage and no more. A file that becomes shorter ends us by SIGBUS, which the type's
        // documentation says.
        let map = unsafe { MmapOptions::new().len(len).map(file) }?;
        Ok(Self(Some(Arc::new(map))))
    }

    /// Lets the process's resident memory not grow with a file that is read from end to end: what was
    /// read stays in the kernel's cache, and is fetched from there if it is needed again.
    pub(super) fn without_residence(self) -> Self {
        if let Some(map) = self.0.as_ref().filter(|map| map.len() > LARGE) {
            let map = Arc::downgrade(map);
            // Without such a thread more memory is used, and nothing else.
            let _ = std::thread::Builder::new().spawn(move || take_out(&map));
        }
        self
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |map| map)
    }
}

/// Until the file is mapped no longer.
fn take_out(map: &Weak<Mmap>) {
    while let Some(map) = map.upgrade() {
        #[expect(unsafe_code, reason = "part of mapping a file")]
        // SAFETY: of a shared mapping of a file, which is never written through, this drops the view:
        // whoever reads it next finds the same bytes.
        let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
        drop(map);
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_has_no_bytes_and_a_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("empty");
        fs::write(&path, b"").unwrap();
        assert_eq!(MappedFile::open(&path).unwrap().bytes(), b"");
        assert!(matches!(MappedFile::open(directory.path()), Err(Error::NotAFile { .. })));
        let missing = MappedFile::open(&directory.path().join("missing")).unwrap_err();
        assert!(missing.to_string().contains("missing: open: No such file"), "{missing}");
    }
}
