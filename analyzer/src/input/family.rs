//! Traces of other processes of the same run, which lie beside a trace.
//!
//! A forked child writes `trace.PID.bin`, and so does a program that takes the traced one's place.
//! Reads no more of a file than its header.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use tftrace_format::header::{HEADER_LIMIT, Header};

/// A directory with more files than this is not searched to its end.
const MOST_FILES: usize = 10_000;

/// What a header says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    path: PathBuf,
    pid: u32,
    parent_pid: u32,
    wall_clock_ns: u64,
}

/// The traces of a process's children, of theirs, and of what took its place; sorted by name.
pub fn family_of(trace: &Path) -> Vec<PathBuf> {
    let (Some(own), Some(beside)) = (process_of(trace), beside(trace)) else { return Vec::new() };
    let others = beside.into_iter().filter_map(|path| process_of(&path));
    let mut others: Vec<Process> =
        others.filter(|other| other.wall_clock_ns >= own.wall_clock_ns).collect();
    let mut found = Vec::new();
    let mut pids = vec![own.pid];
    while let Some(pid) = pids.pop() {
        let (own, rest): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|other| other.parent_pid == pid || other.pid == pid);
        others = rest;
        pids.extend(own.iter().map(|process| process.pid));
        found.extend(own.into_iter().map(|process| process.path));
    }
    found.sort();
    found
}

/// Files that are called like a child's trace.
fn beside(trace: &Path) -> Option<Vec<PathBuf>> {
    let folder = match trace.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let stem = trace.file_stem()?.to_str()?;
    let extension = trace.extension().map(|extension| extension.to_string_lossy().into_owned());
    let is_child = |name: &str| {
        let rest = match &extension {
            Some(extension) => name.strip_suffix(extension.as_str())?.strip_suffix('.')?,
            None => name,
        };
        let pid = rest.strip_prefix(stem)?.strip_prefix('.')?;
        (!pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit())).then_some(())
    };
    let entries = fs::read_dir(folder).ok()?.take(MOST_FILES).filter_map(Result::ok);
    let named = entries.filter(|entry| entry.file_name().to_str().and_then(is_child).is_some());
    Some(named.map(|entry| trace.with_file_name(entry.file_name())).collect())
}

fn process_of(path: &Path) -> Option<Process> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(HEADER_LIMIT as u64).read_to_end(&mut bytes).ok()?;
    let header = Header::from_wire(&bytes).ok()?;
    Some(Process {
        path: path.to_path_buf(),
        pid: header.pid,
        parent_pid: header.parent_pid,
        wall_clock_ns: header.wall_clock_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::builder::{Packing, TraceBuilder};

    #[test]
    fn children_are_those_of_this_run_and_of_this_process() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, pid, parent_pid, wall_clock_ns| {
            let template = TraceBuilder::new().build(Packing::Raw);
            let header = Header::from_wire(&template).unwrap();
            let header = Header {
                pid,
                parent_pid,
                wall_clock_ns,
                command_line: b"",
                executable: b"",
                ..header
            };
            let mut builder = TraceBuilder::new();
            builder.header(header);
            fs::write(folder.path().join(name), builder.build(Packing::Raw)).unwrap();
        };
        write("trace.bin", 10, 1, 1000);
        write("trace.11.bin", 11, 10, 2000);
        write("trace.12.bin", 12, 11, 3000);
        write("trace.10.bin", 10, 1, 1500);
        write("trace.13.bin", 13, 10, 500);
        write("trace.14.bin", 14, 9, 2000);
        write("other.15.bin", 15, 10, 2000);
        fs::write(folder.path().join("trace.16.bin"), b"no trace").unwrap();
        let names = ["trace.10.bin", "trace.11.bin", "trace.12.bin"];
        let expected: Vec<_> = names.iter().map(|name| folder.path().join(name)).collect();
        assert_eq!(family_of(&folder.path().join("trace.bin")), expected);
        assert_eq!(family_of(&folder.path().join("trace.14.bin")), Vec::<PathBuf>::new());
        assert_eq!(family_of(Path::new("/nowhere/trace.bin")), Vec::<PathBuf>::new());
    }
}
