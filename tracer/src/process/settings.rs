//! The `TFTRACE_*` variables, read from the kernel: libc's environment may not be set up yet.

use core::num::NonZeroU64;

use super::byte_size;
use super::notice;
use super::path::PathBuffer;
use super::proc_file::ProcFile;
use crate::sampling::LARGEST_PERIOD;
use crate::system_call;

/// What the user asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// `TFTRACE_OUTPUT`, made absolute.
    pub(crate) output: PathBuffer,
    /// `TFTRACE_LOG`; empty = none.
    pub(crate) log: PathBuffer,
    /// `TFTRACE_DEPTH`: the most frames of a stack.
    pub(crate) depth: u16,
    /// `TFTRACE_CHILDREN=exec`: trace programs that a traced one executes.
    pub(crate) follow_exec: bool,
    /// `TFTRACE_PYTHON`: record Python's own blocks.
    pub(crate) python_blocks: bool,
    /// `TFTRACE_START=off`: record nothing before `tftrace ctl` says so.
    pub(crate) start_paused: bool,
    /// `TFTRACE_SAMPLE`: the mean bytes from one sample to the next; `None` = every allocation is recorded.
    pub(crate) sample_period: Option<NonZeroU64>,
    /// `TFTRACE_MAX_BYTES`: how large the file may become; `None` = as large as it must.
    pub(crate) bound: Option<NonZeroU64>,
    /// `TFTRACE_CHECK_UNWIND`: check every so-manyth stack; 0 = none.
    pub(crate) check_unwind: u32,
    /// `TFTRACE_OBJECTS=list`: find loaded objects as where glibc does not tell.
    pub(crate) object_list: bool,
    /// `TFTRACE_UNWINDER=backtrace`: use the `backtrace` crate for every stack.
    pub(crate) slow_unwinder: bool,
}

/// The smallest useful depth, in frames.
const SMALLEST_DEPTH: u16 = 8;

/// The smallest bound of a file, in bytes: what is in use at once needs some room.
const SMALLEST_BOUND: u64 = 8 << 20;

/// The outcome of reading the variables.
pub(crate) struct Parsed {
    pub(crate) settings: Settings,
    /// Lines to say on stderr once it is known that this process is traced.
    pub(crate) complaint: Option<Complaint>,
}

/// A variable that was not understood.
pub(crate) struct Complaint {
    pub(crate) name: PathBuffer,
    pub(crate) what: &'static [u8],
}

impl Complaint {
    pub(crate) fn say(&self) {
        notice::say(&[b"tftrace: ", self.name.as_bytes(), self.what]);
    }
}

/// Reads the variables of this process. `None`: the output path does not fit.
pub(crate) fn read() -> Option<Parsed> {
    let mut settings = Settings {
        output: PathBuffer::new(),
        log: PathBuffer::new(),
        depth: 1024,
        follow_exec: false,
        python_blocks: true,
        start_paused: false,
        sample_period: None,
        bound: None,
        check_unwind: 0,
        object_list: false,
        slow_unwinder: false,
    };
    let mut complaint = None;
    if let Some(environment) = ProcFile::read(c"/proc/self/environ") {
        for variable in environment.bytes().split(|&byte| byte == 0) {
            let Some(rest) = variable.strip_prefix(b"TFTRACE_") else { continue };
            let at = rest.iter().position(|&byte| byte == b'=').unwrap_or(rest.len());
            let (name, value) = rest.split_at_checked(at)?;
            let value = value.get(1..).unwrap_or_default();
            if let Err(what) = settings.set(name, value) {
                let mut full = PathBuffer::new();
                full.push(b"TFTRACE_")?;
                let _ = full.push(name.get(..64).unwrap_or(name));
                complaint.get_or_insert(Complaint { name: full, what });
            }
        }
    }
    if settings.output.is_empty() {
        settings.output.push(b"trace.bin")?;
    }
    settings.output = absolute(&settings.output)?;
    if !settings.log.is_empty() {
        settings.log = absolute(&settings.log)?;
    }
    Some(Parsed { settings, complaint })
}

impl Settings {
    fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), &'static [u8]> {
        if value.is_empty() {
            return Ok(());
        }
        let path = |target: &mut PathBuffer| {
            *target = PathBuffer::new();
            target.push(value).ok_or(b" is longer than a path can be; it is ignored".as_slice())
        };
        match name {
            b"OUTPUT" => path(&mut self.output)?,
            b"LOG" => path(&mut self.log)?,
            b"DEPTH" => {
                let depth = number(value).filter(|depth| *depth >= u64::from(SMALLEST_DEPTH));
                let depth = depth
                    .ok_or(b" must be a number of frames, 8 to 65535; 1024 is used".as_slice())?;
                self.depth = u16::try_from(depth).unwrap_or(u16::MAX);
            }
            b"CHILDREN" if value == b"exec" => self.follow_exec = true,
            b"CHILDREN" => return Err(b" can only be 'exec'; it is ignored"),
            b"PYTHON" if value == b"0" => self.python_blocks = false,
            b"PYTHON" if value == b"1" => self.python_blocks = true,
            b"PYTHON" => return Err(b" can only be 0 or 1; it is ignored"),
            b"START" if value == b"off" => self.start_paused = true,
            b"START" if value == b"on" => self.start_paused = false,
            b"START" => return Err(b" can only be on or off; it is ignored"),
            b"SAMPLE" => {
                let period = byte_size::parse(value).filter(|bytes| *bytes <= LARGEST_PERIOD);
                self.sample_period = period.and_then(NonZeroU64::new);
                if self.sample_period.is_none() {
                    return Err(
                        b" must be a size such as 512KiB, 1B to 1TiB; every allocation is recorded",
                    );
                }
            }
            b"MAX_BYTES" => {
                let bound = byte_size::parse(value).filter(|bytes| *bytes >= SMALLEST_BOUND);
                self.bound = bound.and_then(NonZeroU64::new);
                if self.bound.is_none() {
                    return Err(
                        b" must be a size such as 2GiB, at least 8MiB; the file has no bound",
                    );
                }
            }
            b"CHECK_UNWIND" => {
                let every = number(value).and_then(|every| u32::try_from(every).ok());
                self.check_unwind =
                    every.ok_or(b" must be a number; no stack is checked".as_slice())?;
            }
            b"OBJECTS" if value == b"list" => self.object_list = true,
            b"OBJECTS" => return Err(b" can only be 'list'; it is ignored"),
            b"UNWINDER" if value == b"backtrace" => self.slow_unwinder = true,
            b"UNWINDER" => return Err(b" can only be 'backtrace'; it is ignored"),
            // The analyzer's: it may be set for both.
            b"REQUESTS" => {}
            _ => return Err(b" is not a setting of this version; it is ignored"),
        }
        Ok(())
    }
}

fn number(text: &[u8]) -> Option<u64> {
    core::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn absolute(path: &PathBuffer) -> Option<PathBuffer> {
    if path.as_bytes().starts_with(b"/") {
        return Some(*path);
    }
    let mut room = [0; 4096];
    let directory = system_call::current_directory(&mut room).ok()?;
    let mut full = PathBuffer::new();
    full.push(directory)?;
    full.push(b"/")?;
    full.push(path.as_bytes())?;
    Some(full)
}
