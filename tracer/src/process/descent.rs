//! Who started this program? What a traced program executes is left alone, unless asked for.
//!
//! The environment stays as the host made it, so the preload is inherited; what tells a descendant
//! is that an ancestor has this library mapped. A process that was traced and then executed another
//! program in its own place is no descendant: what tells it is the trace that it left. A start script has the
//! library mapped too, but is not traced itself: what it starts is what is meant, if that is a program of
//! Python's or TensorFlow's, and not one of the tools that scripts call. And a service's workers are a part of it,
//! if they are started as programs of their own.

use core::ffi::CStr;

use tftrace_format::header::Header;

use super::path::PathBuffer;
use super::proc_file::{FileMapping, ProcFile, lines, stat_field, stat_state};
use crate::system_call;

/// Programs that stand in front of one command, which they become or start. They are not traced: their own memory is
/// of no interest, and the name of the trace is for that command.
const FRONTS: [&[u8]; 24] = [
    b"env",
    b"nice",
    b"nohup",
    b"setsid",
    b"stdbuf",
    b"ionice",
    b"taskset",
    b"chrt",
    b"numactl",
    b"gosu",
    b"su-exec",
    b"setpriv",
    b"timeout",
    b"time",
    b"flock",
    b"tini",
    b"dumb-init",
    b"catatonit",
    b"unshare",
    b"chroot",
    b"prlimit",
    b"script",
    b"setarch",
    b"runuser",
];

/// Programs that run one command after another: they are not traced either.
const SCRIPTS: [&[u8]; 10] =
    [b"sh", b"bash", b"dash", b"ash", b"zsh", b"ksh", b"mksh", b"busybox", b"make", b"xargs"];

/// How the names of a program begin, or of a library that it has from its beginning, that a start script is for.
const SERVICES: [&[u8]; 5] =
    [b"python", b"pypy", b"libpython", b"libtensorflow", b"tensorflow_model_server"];

/// What stands on the command line of a worker that Python's `multiprocessing` or joblib starts anew, as those of a
/// service with TensorFlow are, which is not to be forked. What watches over their shared memory is none.
const WORKERS: [&[u8]; 3] =
    [b"from multiprocessing.spawn ", b"from multiprocessing.forkserver ", b"loky.backend.popen"];

/// Who started this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Descent {
    /// Nobody who has this library, or what stands in front of this command.
    First,
    /// A script that no traced program started.
    OfScript,
    /// A traced program, or what it started.
    OfTraced,
}

/// The program that a process runs, whose link in `/proc` this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Front,
    Script,
    Other,
}

fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

impl Program {
    fn at(link: &CStr) -> Self {
        let mut room = [0; 4096];
        match system_call::read_link(link, &mut room).map(file_name) {
            Ok(name) if FRONTS.contains(&name) => Program::Front,
            Ok(name) if SCRIPTS.contains(&name) => Program::Script,
            _ => Program::Other,
        }
    }

    fn of_process(pid: u32) -> Option<Self> {
        let mut link = PathBuffer::new();
        link.push(b"/proc/")?;
        link.push_number(pid)?;
        link.push(b"/exe")?;
        Some(Self::at(link.as_c_str()))
    }
}

/// Whether this program only starts others.
pub(crate) fn is_starter() -> bool {
    Program::at(c"/proc/self/exe") != Program::Other
}

/// Whether this program is what a start script is for. Its libraries are mapped when it allocates first.
pub(crate) fn is_service() -> bool {
    let Some(maps) = ProcFile::read(c"/proc/self/maps") else { return false };
    let mut paths = lines(maps.bytes()).filter_map(FileMapping::parse).map(|it| it.path);
    paths.any(|path| SERVICES.iter().any(|name| file_name(path).starts_with(name)))
}

/// Ancestors looked at; a process tree is rarely deeper than ten.
const MOST_ANCESTORS: u32 = 64;

/// When the kernel started this process, in its ticks since boot.
pub(crate) fn process_start() -> u64 {
    let stat = ProcFile::read(c"/proc/self/stat");
    stat.and_then(|stat| stat_field(stat.bytes(), 22)).unwrap_or(0)
}

/// Whether this program is a worker of the one that started it, and so a part of the same service.
pub(crate) fn is_worker() -> bool {
    let Some(command) = ProcFile::read(c"/proc/self/cmdline") else { return false };
    let has = |part: &&[u8]| command.bytes().windows(part.len()).any(|it| it == *part);
    WORKERS.iter().any(has)
}

/// Looks at the ancestors of this process: which of them have this library mapped.
pub(crate) fn of_this_process() -> Descent {
    let mut descent = Descent::First;
    let Some(own_maps) = ProcFile::read(c"/proc/self/maps") else { return descent };
    let here = of_this_process as *const () as u64;
    let Some(library) = FileMapping::at(&own_maps, here) else { return descent };
    let mut pid = system_call::parent_id();
    for _ in 0..MOST_ANCESTORS {
        // The first process of a container may be the traced one; who started that cannot be seen.
        if pid == 0 {
            break;
        }
        // Another user's process cannot be looked into, and cannot be one we were started by.
        if let Some(maps) = ProcFile::of_process(pid, b"maps")
            && lines(maps.bytes()).filter_map(FileMapping::parse).any(|it| it.file == library.file)
        {
            match Program::of_process(pid) {
                Some(Program::Front) => {}
                Some(Program::Script) => descent = Descent::OfScript,
                _ => return Descent::OfTraced,
            }
        }
        let parent = ProcFile::of_process(pid, b"stat");
        let Some(parent) = parent.and_then(|stat| stat_field(stat.bytes(), 4)) else { break };
        pid = parent as u32;
    }
    descent
}

/// Whether the trace under this path was begun by an earlier image of this process (`exec`).
pub(crate) fn is_own_trace(path: &CStr, start: u64) -> bool {
    owner(path) == Some((system_call::process_id(), start))
}

/// Whether the trace under this path is of a process that still runs.
pub(crate) fn is_of_living(path: &CStr) -> bool {
    let is_living = |(pid, start)| {
        let stat = ProcFile::of_process(pid, b"stat")?;
        // One that has ended and was not waited for writes nothing any more.
        let is_ended = stat_state(stat.bytes()) == Some(b'Z');
        (!is_ended && stat_field(stat.bytes(), 22) == Some(start)).then_some(())
    };
    owner(path).and_then(is_living).is_some()
}

/// The pid and the start of the process whose trace stands under this path.
fn owner(path: &CStr) -> Option<(u32, u64)> {
    let mut room = [0; 512];
    // Without waiting: a pipe may stand there.
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = system_call::open(path, flags, 0).ok()?;
    let len = file.read_all(&mut room).ok()?.len();
    let bytes = room.get(..len)?;
    // The fixed part of the header is enough, and its texts may be longer than the room.
    bytes.starts_with(&tftrace_format::header::TRACE_MAGIC).then(|| Header::process_of(bytes))?
}
