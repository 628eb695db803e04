//! `tftrace ctl`: looks at the trace of a running process, and switches its recording on and off.
//!
//! Through the trace file alone: no signal, nothing that the process could notice or refuse.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tftrace_format::control::{CONTROL_OFFSET, Control, Request, State};
use tftrace_format::counters::{COUNTERS_PAGE, Counter, Counters};
use tftrace_format::header::{HEADER_LIMIT, Header};
use tftrace_format::page::PAGE_BYTES;

use crate::options::ControlAction;

/// How long a process may take to obey; one that allocates nothing meanwhile obeys later.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why a process cannot be controlled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// No such process, or somebody else's.
    #[error("process {pid}: {error}: it has ended, or belongs to another user")]
    NoProcess {
        /// Its id.
        pid: u32,
        /// What the kernel says.
        error: io::Error,
    },
    /// It runs, but not under the tracer.
    #[error(
        "process {0}: is not traced, or its trace file was deleted: start it with `tftrace run`"
    )]
    NotTraced(u32),
    /// Its trace is there.
    #[error("{}: {error}", path.display())]
    Trace {
        /// The trace file.
        path: PathBuf,
        /// What the kernel says.
        error: io::Error,
    },
}

/// The trace of a running process.
struct Running {
    pid: u32,
    path: PathBuf,
    file: File,
}

/// Does what was asked for, and says on stdout what the process does now.
pub(crate) fn run(pid: u32, action: ControlAction) -> Result<u8, ControlError> {
    let running = Running::find(pid)?;
    let done = match action {
        ControlAction::Start => running.ask(Request::Record),
        ControlAction::Stop => running.ask(Request::Pause),
        ControlAction::Flush => running.flush(),
        ControlAction::Status => running.status(),
    };
    let text = done.map_err(|error| ControlError::Trace { path: running.path.clone(), error })?;
    // A reader that has gone away has got what it wanted.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(0)
}

impl Running {
    /// Finds the trace among the files that the process has mapped.
    fn find(pid: u32) -> Result<Self, ControlError> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let no_process = |error| ControlError::NoProcess { pid, error };
        let start = process_start(&process).map_err(no_process)?;
        let maps = std::fs::read(process.join("maps")).map_err(no_process)?;
        let mut last = None;
        for path in maps.split(|&byte| byte == b'\n').filter_map(shared_file) {
            if last.replace(path) == Some(path) {
                continue;
            }
            // As the process sees it: it may live in a container.
            let inside = process.join("root").join(path.strip_prefix("/").unwrap_or(path));
            if !is_trace_of(&inside, start) {
                continue;
            }
            let opened = OpenOptions::new().read(true).write(true).open(&inside);
            let path = path.to_path_buf();
            return match opened {
                Ok(file) => Ok(Self { pid, path, file }),
                Err(error) => Err(ControlError::Trace { path, error }),
            };
        }
        Err(ControlError::NotTraced(pid))
    }

    fn control(&self) -> io::Result<Control> {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, CONTROL_OFFSET as u64)?;
        Ok(Control::from_wire(u64::from_le_bytes(word)))
    }

    /// Asks, and waits a little for the process to obey.
    fn ask(&self, request: Request) -> io::Result<String> {
        // The lower half alone: the other one is the tracer's.
        self.file.write_all_at(&(request as u32).to_le_bytes(), CONTROL_OFFSET as u64)?;
        let wanted = match request {
            Request::Record => State::Recording,
            Request::Pause => State::Paused,
        };
        let end = Instant::now() + PATIENCE;
        while self.control()?.state != wanted {
            if Instant::now() > end {
                let what = if request == Request::Record { "start" } else { "stop" };
                return Ok(format!(
                    "process {}: recording will {what} when it next allocates or frees\n",
                    self.pid
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(format!("process {}: {}\n", self.pid, in_words(wanted)))
    }

    /// Waits until the kernel has written the trace to the disk.
    fn flush(&self) -> io::Result<String> {
        self.file.sync_data()?;
        Ok(format!("process {}: {} is on the disk\n", self.pid, self.path.display()))
    }

    fn status(&self) -> io::Result<String> {
        let mut page = vec![0; PAGE_BYTES];
        self.file.read_exact_at(&mut page, (COUNTERS_PAGE * PAGE_BYTES) as u64)?;
        let counters = Counters::from_wire(&page);
        let number = |counter| counters.get(counter).unwrap_or(0);
        let lost: u64 = Counter::ALL
            .into_iter()
            .filter(|counter| counter.loss().is_some())
            .map(number)
            .fold(0, u64::saturating_add);
        // What the file takes on the disk; its length has room to grow.
        let on_disk = self.file.metadata()?.blocks().saturating_mul(512) as f64 / 1e6;
        let lost = match lost {
            0 => "nothing lost".to_owned(),
            lost => format!("{lost} events lost: `tftrace-analyze info` says why"),
        };
        Ok(format!(
            "process {}: {}\ntrace: {}, {on_disk:.1} MB on the disk, {lost}\n",
            self.pid,
            in_words(self.control()?.state),
            self.path.display(),
        ))
    }
}

fn in_words(state: State) -> &'static str {
    match state {
        State::Recording => "recording",
        State::Paused => "not recording",
        State::Turning => "just being switched",
    }
}

/// The path in a line of a memory map, if that is a shared writable mapping of a file's beginning.
fn shared_file(line: &[u8]) -> Option<&Path> {
    // start-end perms offset device inode, then the path after blanks.
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let (_, perms, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let path = fields.nth(2)?.trim_ascii_start();
    let fits = perms == b"rw-s" && offset.iter().all(|&digit| digit == b'0');
    (fits && path.starts_with(b"/")).then(|| Path::new(std::ffi::OsStr::from_bytes(path)))
}

/// When the kernel started a process, in ticks since boot: field 22 of its `stat`.
fn process_start(process: &Path) -> io::Result<u64> {
    let stat = std::fs::read_to_string(process.join("stat"))?;
    // The name may hold blanks and parentheses.
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let field = after_name.split(' ').nth(22 - 3);
    field.and_then(|field| field.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether a file is the trace of the process that was started then. Its id may be another one
/// inside a container.
fn is_trace_of(path: &Path, start: u64) -> bool {
    let mut bytes = vec![0; HEADER_LIMIT];
    let read = File::open(path).and_then(|file| file.read_exact_at(&mut bytes, 0));
    read.is_ok() && Header::process_of(&bytes).is_some_and(|(_, began)| began == start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginning_of_a_shared_writable_file_can_be_a_trace() {
        let path = |line: &str| shared_file(line.as_bytes()).map(|path| path.to_owned());
        let line = "7f0000000000-7f1000000000 rw-s 00000000 fe:00 1234      /srv/a b/trace.bin";
        assert_eq!(path(line), Some("/srv/a b/trace.bin".into()));
        assert_eq!(path(&line.replace("rw-s", "rw-p")), None);
        assert_eq!(path(&line.replace("00000000 fe", "00001000 fe")), None);
        assert_eq!(path("7f00-7f10 rw-s 00000000 00:01 5 "), None);
    }

    #[test]
    fn a_process_without_trace_is_said_to_be_none() {
        let own = std::process::id();
        assert!(matches!(Running::find(own), Err(ControlError::NotTraced(pid)) if pid == own));
        let error = Running::find(u32::MAX);
        assert!(matches!(error, Err(ControlError::NoProcess { .. })));
    }
}
