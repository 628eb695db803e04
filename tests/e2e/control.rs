//! Recording that is switched on and off from outside.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::build::{compile, tools};
use crate::support::host::{clean_environment, finish};

struct Switched {
    child: Child,
    directory: tempfile::TempDir,
}

impl Switched {
    fn start(when: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(compile("switched.c", &[]));
        clean_environment(&mut command);
        command.current_dir(directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.env("LD_PRELOAD", &tools().library).env("TFTRACE_START", when);
        Self { child: command.spawn().unwrap(), directory }
    }

    /// Has the program do something, and waits until it is done.
    fn step(&mut self, letter: u8) {
        self.child.stdin.as_mut().unwrap().write_all(&[letter]).unwrap();
        let mut done = [0];
        self.child.stdout.as_mut().unwrap().read_exact(&mut done).unwrap();
    }

    fn control(&self, action: &str) -> String {
        let mut command = Command::new(&tools().launcher);
        command.args(["ctl", &self.child.id().to_string(), action]);
        let outcome = finish(&mut command);
        assert_eq!((outcome.code(), outcome.stderr.as_str()), (0, ""), "{outcome:?}");
        outcome.stdout
    }

    fn end(mut self) -> tempfile::TempDir {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
        self.directory
    }
}

fn analyze(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(&tools().analyze);
    command.args(arguments).arg("trace.bin").current_dir(directory);
    let outcome = finish(&mut command);
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    outcome.stdout
}

/// Allocations and frees of the blocks that a letter asks for.
fn counts(directory: &Path, letter: u8) -> (u64, u64) {
    let size = format!("{} ", 10_001 + 1000 * u64::from(letter - b'a'));
    let sizes = analyze(directory, &["sizes"]);
    let line = sizes.lines().find_map(|line| line.strip_prefix(&size));
    let mut numbers = line.unwrap_or("0 0").split(' ').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn only_what_happens_between_start_and_stop_is_recorded() {
    let mut host = Switched::start("off");
    host.step(b'a');
    assert!(host.control("status").contains("not recording"));
    // The host only notices with its next allocation or free.
    assert!(host.control("start").contains("recording will start"));
    host.step(b'b');
    assert!(host.control("status").contains(": recording\n"));
    host.step(b'A');
    assert!(host.control("stop").contains("recording will stop"));
    host.step(b'c');
    host.step(b'B');
    assert!(host.control("status").contains("not recording"));
    assert!(host.control("flush").contains("on the disk"));
    host.control("start");
    host.step(b'd');
    host.step(b'C');
    let directory = host.end();
    let directory = directory.path();
    assert_eq!(counts(directory, b'a').0, 0);
    assert_eq!(counts(directory, b'b'), (50, 0));
    assert_eq!(counts(directory, b'c').0, 0);
    assert_eq!(counts(directory, b'd'), (50, 0));
    // Of the last interval alone is it known what is live; nothing counts as an anomaly.
    let info = analyze(directory, &["info"]);
    assert!(info.contains("unmatched frees: 0 "), "{info}");
    assert!(info.contains("recorded: from "), "{info}");
    let live: u64 = analyze(directory, &["folded", "--frames", "native"])
        .lines()
        .filter(|line| line.contains("main"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum();
    assert_eq!(live, 50 * 13_001);
}

#[test]
fn a_process_that_is_not_traced_is_refused_in_one_line() {
    let mut command = Command::new(&tools().launcher);
    command.args(["ctl", &std::process::id().to_string(), "status"]);
    let outcome = finish(&mut command);
    assert_eq!((outcome.code(), outcome.stderr.lines().count()), (1, 1), "{outcome:?}");
    assert!(outcome.stderr.contains("is not traced"), "{outcome:?}");
}
