//! Paths in fixed memory: the tracer builds names where it must not allocate.

use core::ffi::CStr;

use tftrace_format::page::put;

const CAPACITY: usize = 4096;

/// A path of at most 4,095 bytes, followed by zeros.
#[derive(Clone, Copy)]
pub(crate) struct PathBuffer {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl core::fmt::Debug for PathBuffer {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.as_c_str().fmt(out)
    }
}

impl PathBuffer {
    /// An empty path.
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; CAPACITY], len: 0 }
    }

    /// Appends bytes; `None` if they do not fit or hold a zero.
    pub(crate) fn push(&mut self, part: &[u8]) -> Option<()> {
        let end = self.len.checked_add(part.len())?;
        if end >= CAPACITY || part.contains(&0) {
            return None;
        }
        put(&mut self.bytes, self.len, part)?;
        self.len = end;
        Some(())
    }

    /// Appends a number in decimal.
    pub(crate) fn push_number(&mut self, number: u32) -> Option<()> {
        let mut digits = [0u8; 10];
        let mut rest = number;
        let mut start = digits.len();
        loop {
            start = start.checked_sub(1)?;
            *digits.get_mut(start)? = b'0'.wrapping_add((rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                return self.push(digits.get(start..)?);
            }
        }
    }

    /// The path for a system call.
    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }

    /// The path's bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The path of a forked child's trace: `trace.bin` gives `trace.PID.bin`; `%p` stands for the pid.
///
/// `plain` is for the first process, whose name has no pid unless it asks for one.
pub(crate) fn output_path(pattern: &PathBuffer, pid: u32, plain: bool) -> Option<PathBuffer> {
    let pattern = pattern.as_bytes();
    let mut path = PathBuffer::new();
    if let Some(at) = pattern.windows(2).position(|pair| pair == b"%p") {
        path.push(pattern.get(..at)?)?;
        path.push_number(pid)?;
        path.push(pattern.get(at.checked_add(2)?..)?)?;
        return Some(path);
    }
    let name = pattern.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at.saturating_add(1));
    let dot = pattern.iter().rposition(|&byte| byte == b'.').filter(|&dot| dot > name);
    let (stem, extension) = pattern.split_at_checked(dot.unwrap_or(pattern.len()))?;
    path.push(stem)?;
    if !plain {
        path.push(b".")?;
        path.push_number(pid)?;
    }
    path.push(extension)?;
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_goes_before_the_extension_or_where_it_is_asked_for() {
        let name = |pattern: &str, plain| {
            let mut buffer = PathBuffer::new();
            buffer.push(pattern.as_bytes()).unwrap();
            let path = output_path(&buffer, 42, plain).unwrap();
            String::from_utf8(path.as_bytes().to_vec()).unwrap()
        };
        assert_eq!(name("/a.b/trace.bin", true), "/a.b/trace.bin");
        assert_eq!(name("/a.b/trace.bin", false), "/a.b/trace.42.bin");
        assert_eq!(name("/a.b/trace", false), "/a.b/trace.42");
        assert_eq!(name("/x/%p.bin", true), "/x/42.bin");
        assert_eq!(name("/x/%p.bin", false), "/x/42.bin");
    }
}
