//! Files below `/proc`, read whole into memory of their own.

use core::ffi::CStr;

use super::path::PathBuffer;
use crate::system_call;

/// Enough for nearly all of them. Less than what a kernel may back with one huge page, which it would have
/// to clear.
const FIRST_ROOM: usize = 64 << 10;
/// More than any environment or memory map.
const MOST_ROOM: usize = 16 << 20;

/// A file that was read.
pub(crate) struct ProcFile {
    start: *mut u8,
    room: usize,
    len: usize,
}

impl ProcFile {
    /// Reads a file whole; `None` if it cannot be read.
    pub(crate) fn read(path: &CStr) -> Option<Self> {
        let file = system_call::open(path, libc::O_RDONLY, 0).ok()?;
        let mut read = Self::with_room(FIRST_ROOM)?;
        loop {
            read.len += file.read_all(read.rest()).ok()?.len();
            if read.len < read.room || read.room == MOST_ROOM {
                return Some(read);
            }
            let mut larger = Self::with_room(read.room * 4)?;
            tftrace_format::page::put(larger.rest(), 0, read.bytes())?;
            larger.len = read.len;
            read = larger;
        }
    }

    fn with_room(room: usize) -> Option<Self> {
        let start = system_call::map_private(room).ok()?;
        Some(Self { start, room, len: 0 })
    }

    /// What was not read into yet.
    fn rest(&mut self) -> &mut [u8] {
        // SAFETY: a private mapping of that size, of this value alone.
        let room = unsafe { core::slice::from_raw_parts_mut(self.start, self.room) };
        room.get_mut(self.len..).unwrap_or_default()
    }

    /// Reads `/proc/PID/NAME`.
    pub(crate) fn of_process(pid: u32, name: &[u8]) -> Option<Self> {
        let mut path = PathBuffer::new();
        path.push(b"/proc/")?;
        path.push_number(pid)?;
        path.push(b"/")?;
        path.push(name)?;
        Self::read(path.as_c_str())
    }

    /// What was read.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes were filled, and stay until `self` is dropped.
        unsafe { core::slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for ProcFile {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and nothing borrows from it any more.
        unsafe { system_call::unmap(self.start, self.room) };
    }
}

/// A field of `/proc/PID/stat` by its number in the manual (4 = parent, 22 = start time).
pub(crate) fn stat_field(stat: &[u8], number: usize) -> Option<u64> {
    let mut fields = after_name(stat)?.split(|&byte| byte == b' ');
    core::str::from_utf8(fields.nth(number.checked_sub(3)?)?).ok()?.trim().parse().ok()
}

/// The letter of a process's state in `/proc/PID/stat`.
pub(crate) fn stat_state(stat: &[u8]) -> Option<u8> {
    after_name(stat)?.first().copied()
}

/// The fields from the third on. The second is the program's name in parentheses, and may hold anything.
fn after_name(stat: &[u8]) -> Option<&[u8]> {
    let end = stat.iter().rposition(|&byte| byte == b')')?.checked_add(2)?;
    stat.get(end..)
}

/// The two addresses at the beginning of a line of `/proc/PID/maps`.
pub(crate) fn map_range(line: &[u8]) -> Option<(u64, u64)> {
    let mut words = line.splitn(2, |&byte| byte == b' ').next()?.splitn(2, |&byte| byte == b'-');
    let mut hex = || u64::from_str_radix(core::str::from_utf8(words.next()?).ok()?, 16).ok();
    Some((hex()?, hex()?))
}

/// The lines of a file.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

/// A line of `/proc/PID/maps` about a part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileMapping<'a> {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) is_writable: bool,
    /// Where in the file it begins, in bytes.
    pub(crate) offset: u64,
    /// Device and inode: what names the file.
    pub(crate) file: (&'a [u8], &'a [u8]),
    pub(crate) path: &'a [u8],
}

impl<'a> FileMapping<'a> {
    /// `None`: the line is of memory that is of no file.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        let (start, end) = map_range(line)?;
        // start-end perms offset device inode path
        let mut words = line.splitn(6, |&byte| byte == b' ').skip(1);
        let is_writable = words.next()?.get(1) == Some(&b'w');
        let offset = u64::from_str_radix(core::str::from_utf8(words.next()?).ok()?, 16).ok()?;
        let file = (words.next()?, words.next()?);
        let path = words.next()?.trim_ascii_start();
        path.starts_with(b"/").then_some(Self { start, end, is_writable, offset, file, path })
    }

    /// The one that an address is in.
    pub(crate) fn at(maps: &'a ProcFile, address: u64) -> Option<Self> {
        lines(maps.bytes())
            .find(|line| {
                map_range(line).is_some_and(|(start, end)| (start..end).contains(&address))
            })
            .and_then(Self::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_of_which_file_is_mapped() {
        let line = b"7f00-8f10 r--p 0000a000 08:01 77                  /lib/x (deleted)";
        let expected = FileMapping {
            start: 0x7F00,
            end: 0x8F10,
            is_writable: false,
            offset: 0xA000,
            file: (b"08:01", b"77"),
            path: b"/lib/x (deleted)",
        };
        assert_eq!(FileMapping::parse(line), Some(expected));
        let writable = FileMapping::parse(b"1000-2000 rw-s 00000000 00:1a 5 /dev/shm/x");
        assert!(writable.is_some_and(|it| it.is_writable && it.path == b"/dev/shm/x"));
        for line in [
            &b"7f00-7f10 rw-p 00000000 00:00 0 "[..],
            b"7f00-7f10 rw-p 00000000 00:00 0",
            b"7f00-7f10 rw-p 00000000 00:00 0          [heap]",
            b"7f00",
            b"",
        ] {
            assert_eq!(FileMapping::parse(line), None, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn an_address_is_in_the_file_that_it_is_in() {
        let maps = ProcFile::read(c"/proc/self/maps").unwrap();
        let own = FileMapping::at(&maps, FileMapping::at as *const () as u64).unwrap();
        let path = std::env::current_exe().unwrap();
        assert_eq!(own.path, path.as_os_str().as_encoded_bytes());
        let local = 0u8;
        assert_eq!(FileMapping::at(&maps, (&raw const local) as u64), None);
    }
}
