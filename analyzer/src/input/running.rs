//! Whether the program that a trace is of still runs and writes it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tftrace_format::header::Header;

/// Whether the process that the trace names has this file mapped. False where that cannot be seen:
/// in a container of its own, or a process of another user's.
pub fn is_written(path: &Path, bytes: &[u8]) -> bool {
    let (Ok(header), Ok(about)) = (Header::from_wire(bytes), fs::metadata(path)) else {
        return false;
    };
    fs::read_to_string(format!("/proc/{}/maps", header.pid))
        .is_ok_and(|maps| maps.lines().any(|line| inode(line) == Some(about.ino())))
}

/// Of a line `ADDRESSES PERMISSIONS OFFSET DEVICE INODE PATH`. The device is left out: file systems that lie on
/// others give out two numbers for one.
fn inode(line: &str) -> Option<u64> {
    line.split_ascii_whitespace().nth(4)?.parse().ok().filter(|inode| *inode != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_file_that_is_mapped() {
        let file = "7f1c6aa00000-7f1c6aa08000 rw-s 00000000 fe:00 131206    /tmp/a trace.bin";
        assert_eq!(inode(file), Some(131_206));
        assert_eq!(inode("7ffd1b9f2000-7ffd1ba13000 rw-p 00000000 00:00 0    [stack]"), None);
        assert_eq!(inode(""), None);
    }
}
