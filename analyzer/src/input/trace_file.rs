//! Maps a trace without the part that its tracer never used.
//!
//! A tracer gives its file room in advance, which takes no disk space. To touch that room through
//! a mapping may take some: on a full memory file system it ends the reader by SIGBUS.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use tftrace_format::counters::{COUNTERS_PAGE, Counter, Counters};
use tftrace_format::header::TRACE_MAGIC;
use tftrace_format::page::PAGE_BYTES;

use super::MappedFile;
use crate::Error;

/// Maps the trace at `path` up to its last page that was ever taken.
pub fn open_trace(path: &Path) -> Result<MappedFile, Error> {
    let fault = |source| Error::Open { path: path.to_path_buf(), source };
    let about = fs::metadata(path).map_err(fault)?;
    if !about.is_file() {
        return Err(Error::NotAFile { path: path.to_path_buf() });
    }
    let file = File::open(path).map_err(fault)?;
    let len = about.len();
    let used = used_len(&file, data_end(&file, len)).max(taken_len(&file));
    MappedFile::of(&file, used.min(len)).map(MappedFile::without_residence).map_err(fault)
}

/// The version of the format that the bytes of a trace say they have.
pub fn format_version(bytes: &[u8]) -> Option<u32> {
    let version = bytes.get(TRACE_MAGIC.len()..)?.first_chunk()?;
    Some(u32::from_le_bytes(*version))
}

/// Where the last data of a file ends that may have holes; `len` where the file system cannot tell.
fn data_end(file: &File, len: u64) -> u64 {
    let mut end = 0;
    loop {
        match seek(file, SeekFrom::Data(end)) {
            Ok(start) => match seek(file, SeekFrom::Hole(start)) {
                Ok(hole) if hole > end => end = hole,
                _ => return len,
            },
            Err(rustix::io::Errno::NXIO) => return end,
            Err(_) => return len,
        }
    }
}

/// The end of the page that the data ends in, or its beginning if nothing ever stood there.
fn used_len(file: &File, end: u64) -> u64 {
    let page = PAGE_BYTES as u64;
    let start = end - end % page;
    let mut first = [0; 4];
    let begun = file.read_exact_at(&mut first, start).is_err() || first != [0; 4];
    if begun { start.saturating_add(page) } else { start }
}

/// The end of the last page that was taken. What stood in it may have moved to a chunk: then it is a
/// hole, at the latest in a copy of the file, and nothing of the file is missing.
fn taken_len(file: &File) -> u64 {
    let mut page = vec![0; PAGE_BYTES];
    let is_read = file.read_exact_at(&mut page, (COUNTERS_PAGE * PAGE_BYTES) as u64).is_ok();
    let counters = is_read.then(|| Counters::from_wire(&page));
    let taken = counters.and_then(|counters| counters.get(Counter::PagesTaken)).unwrap_or(0);
    taken.saturating_mul(PAGE_BYTES as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::builder::{Packing, TraceBuilder};
    use tftrace_format::reader::Trace;

    const PAGE: u64 = PAGE_BYTES as u64;

    fn mapped_len(data: &[(u64, &[u8])], len: u64) -> usize {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("trace.bin");
        let file = File::create(&path).unwrap();
        file.set_len(len).unwrap();
        for (at, bytes) in data {
            file.write_all_at(bytes, *at).unwrap();
        }
        open_trace(&path).unwrap().bytes().len()
    }

    #[test]
    fn room_that_was_never_used_is_not_mapped() {
        let used = vec![1; 3 * PAGE_BYTES];
        assert_eq!(mapped_len(&[(0, &used)], 100 * PAGE), used.len());
        assert_eq!(mapped_len(&[(0, &used), (7 * PAGE, &[1; 10])], 100 * PAGE), 8 * PAGE_BYTES);
        assert_eq!(
            mapped_len(&[(0, &used), (4 * PAGE + 8192, &[1; 9])], 100 * PAGE),
            4 * PAGE_BYTES
        );
    }

    #[test]
    fn a_last_page_that_was_emptied_is_not_cut_off() {
        let written = TraceBuilder::new().note("all there is").build(Packing::Raw);
        let (last, pages) = (written.len() - PAGE_BYTES, [written.len(), 9 * PAGE_BYTES]);
        let damage = |len: usize| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("trace.bin");
            let file = File::create(&path).unwrap();
            file.write_all_at(&written[..last], 0).unwrap();
            file.set_len(len as u64).unwrap();
            Trace::open(open_trace(&path).unwrap().bytes()).unwrap().damage().len()
        };
        assert_eq!(pages.map(damage), [0, 0], "as long as it was, and with room behind it");
        assert_eq!(damage(last), 1);
    }

    #[test]
    fn the_version_is_the_files_own() {
        let written = TraceBuilder::new().build(Packing::Raw);
        assert_eq!(format_version(&written), Some(tftrace_format::header::FORMAT_VERSION));
        assert_eq!(format_version(b"TFTRACE\0\x02\x01\0\0more"), Some(0x0102));
        assert_eq!(format_version(b"TFTRACE\0\x02\x01\0"), None);
    }

    #[test]
    fn a_file_without_holes_is_mapped_to_its_last_byte() {
        assert_eq!(mapped_len(&[(0, &[1; 5])], 5), 5);
        assert_eq!(mapped_len(&[], 0), 0);
    }
}
