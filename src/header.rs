//! Page 0: what is known when a trace begins.
//!
//! ```text
//! 0 magic "TFTRACE\0"   8 version   12 bytes of the header   16 CRC-32 of bytes 20..(bytes)   20 zero
//! 24 pid  28 parent pid  32 start of the process  40 ticks per second  48 clock origin  56 wall clock (ns)
//! 64 clock kind  65 architecture  66 depth  68 zero  72 command line, executable: length and bytes each;
//! sampling period, bound of the file: varints, not in traces of version 1
//! ```

use core::num::NonZeroU64;

use crate::page::{put, u32_at, u64_at};
use crate::varint::{Reader, Writer};

/// The first eight bytes of a trace.
pub const TRACE_MAGIC: [u8; 8] = *b"TFTRACE\0";
/// The newest version of the format that this crate reads, and the one that it writes.
pub const FORMAT_VERSION: u32 = 6;
/// Bytes of the fixed part.
const FIXED_BYTES: usize = 72;
/// The largest header, in bytes.
pub const HEADER_LIMIT: usize = 16 * 1024;

/// Which clock stamps the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ClockKind {
    /// The processor's invariant time stamp counter.
    Tsc = 1,
    /// `CLOCK_MONOTONIC`.
    Monotonic = 2,
}

/// What is known when a trace begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The traced process.
    pub pid: u32,
    /// Its parent.
    pub parent_pid: u32,
    /// When the kernel started the process, in its own ticks since boot: tells reused pids apart.
    pub process_start: u64,
    /// Clock ticks in a second, as estimated at the start. Memory readings refine it.
    pub ticks_per_second: u64,
    /// The clock's value at tick 0.
    pub clock_origin: u64,
    /// Nanoseconds since 1970 when the header was written, within a millisecond of tick 0.
    pub wall_clock_ns: u64,
    /// Which clock.
    pub clock: ClockKind,
    /// `TFTRACE_DEPTH`: the most frames of a stack.
    pub depth: u16,
    /// The command line: arguments, each ended by a zero byte. Cut after 8 KiB.
    pub command_line: &'a [u8],
    /// The path of the executable.
    pub executable: &'a [u8],
    /// `TFTRACE_SAMPLE`: the mean bytes from one sample to the next. `None`: every allocation is recorded.
    pub sample_period: Option<NonZeroU64>,
    /// `TFTRACE_MAX_BYTES`: how large the file may become. `None`: as large as it must.
    pub bound: Option<NonZeroU64>,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// The bytes do not begin with [`TRACE_MAGIC`].
    NotATrace,
    /// The file ends inside the header.
    Truncated,
    /// Written by a newer tftrace.
    Newer(u32),
    /// Its CRC is wrong.
    Damaged,
}

impl<'a> Header<'a> {
    /// Writes the header; gives its bytes, or `None` if `room` is too small.
    pub fn to_wire(&self, room: &mut [u8]) -> Option<usize> {
        let (fixed, rest) = room.split_at_mut_checked(FIXED_BYTES)?;
        let mut writer = Writer::new(rest);
        writer.bytes(self.command_line.get(..8192).unwrap_or(self.command_line));
        writer.bytes(self.executable.get(..4096).unwrap_or(self.executable));
        for value in [self.sample_period, self.bound] {
            writer.number(value.map_or(0, NonZeroU64::get));
        }
        let len = FIXED_BYTES.checked_add(writer.finish()?)?;
        fixed.fill(0);
        let parts: [(usize, &[u8]); 11] = [
            (0, &TRACE_MAGIC),
            (8, &FORMAT_VERSION.to_le_bytes()),
            (12, &u32::try_from(len).ok()?.to_le_bytes()),
            (24, &self.pid.to_le_bytes()),
            (28, &self.parent_pid.to_le_bytes()),
            (32, &self.process_start.to_le_bytes()),
            (40, &self.ticks_per_second.to_le_bytes()),
            (48, &self.clock_origin.to_le_bytes()),
            (56, &self.wall_clock_ns.to_le_bytes()),
            (64, &[self.clock as u8, ARCHITECTURE]),
            (66, &self.depth.to_le_bytes()),
        ];
        for (at, value) in parts {
            put(fixed, at, value)?;
        }
        let crc = crc32fast::hash(room.get(20..len)?).to_le_bytes();
        put(room, 16, &crc)?;
        Some(len)
    }

    /// The pid and the start of the process, from the first bytes of a trace, unchecked.
    pub fn process_of(bytes: &[u8]) -> Option<(u32, u64)> {
        bytes.get(..FIXED_BYTES)?;
        Some((u32_at(bytes, 24), u64_at(bytes, 32)))
    }

    /// Reads the header of a trace.
    pub fn from_wire(bytes: &'a [u8]) -> Result<Self, HeaderFault> {
        let magic = bytes.get(..8).unwrap_or(bytes);
        if magic.is_empty() || !TRACE_MAGIC.starts_with(magic) {
            return Err(HeaderFault::NotATrace);
        }
        if bytes.len() < FIXED_BYTES {
            return Err(HeaderFault::Truncated);
        }
        let version = u32_at(bytes, 8);
        if version > FORMAT_VERSION {
            return Err(HeaderFault::Newer(version));
        }
        let len = u32_at(bytes, 12) as usize;
        if !(FIXED_BYTES..=HEADER_LIMIT).contains(&len) || version == 0 {
            return Err(HeaderFault::Damaged);
        }
        let body = bytes.get(20..len).ok_or(HeaderFault::Truncated)?;
        if crc32fast::hash(body) != u32_at(bytes, 16) {
            return Err(HeaderFault::Damaged);
        }
        let clock = match bytes.get(64) {
            Some(1) => ClockKind::Tsc,
            Some(2) => ClockKind::Monotonic,
            _ => return Err(HeaderFault::Damaged),
        };
        let mut texts = Reader::new(bytes.get(FIXED_BYTES..len).unwrap_or_default());
        let command_line = texts.bytes().ok_or(HeaderFault::Damaged)?;
        let executable = texts.bytes().ok_or(HeaderFault::Damaged)?;
        let mut later = || match version {
            1 => Ok(None),
            _ => texts.number().map(NonZeroU64::new).ok_or(HeaderFault::Damaged),
        };
        Ok(Self {
            pid: u32_at(bytes, 24),
            parent_pid: u32_at(bytes, 28),
            process_start: u64_at(bytes, 32),
            ticks_per_second: u64_at(bytes, 40).max(1),
            clock_origin: u64_at(bytes, 48),
            wall_clock_ns: u64_at(bytes, 56),
            clock,
            depth: (u32_at(bytes, 64) >> 16) as u16,
            command_line,
            executable,
            sample_period: later()?,
            bound: later()?,
        })
    }
}

/// 1 = x86-64, 2 = aarch64.
const ARCHITECTURE: u8 = if cfg!(target_arch = "aarch64") { 2 } else { 1 };

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header<'static> {
        Header {
            pid: 4,
            parent_pid: 3,
            process_start: 99,
            ticks_per_second: 3_000_000_000,
            clock_origin: 12345,
            wall_clock_ns: 1 << 60,
            clock: ClockKind::Tsc,
            depth: 1024,
            command_line: b"python\0serve.py\0",
            executable: b"/usr/bin/python3",
            sample_period: NonZeroU64::new(512 << 10),
            bound: NonZeroU64::new(2 << 30),
        }
    }

    #[test]
    fn a_header_survives_and_every_changed_byte_is_noticed() {
        let mut room = [0; 512];
        let len = sample().to_wire(&mut room).unwrap();
        assert_eq!(Header::from_wire(&room[..len]), Ok(sample()));
        for at in 0..len {
            let mut damaged = room;
            damaged[at] ^= 0x40;
            assert!(Header::from_wire(&damaged[..len]).is_err(), "byte {at}");
            assert!(Header::from_wire(&room[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_header_of_the_first_version_is_of_everything() {
        let everything = Header { sample_period: None, bound: None, ..sample() };
        let mut room = [0; 512];
        let len = everything.to_wire(&mut room).unwrap();
        assert_eq!(Header::from_wire(&room[..len]), Ok(everything));
        // It ends with the executable: the two numbers, a byte of zero each, are not there.
        let len = len - 2;
        put(&mut room, 8, &1u32.to_le_bytes()).unwrap();
        put(&mut room, 12, &(len as u32).to_le_bytes()).unwrap();
        let crc = crc32fast::hash(&room[20..len]).to_le_bytes();
        put(&mut room, 16, &crc).unwrap();
        assert_eq!(Header::from_wire(&room[..len]), Ok(everything));
    }
}
