//! A trace that is read while its program runs.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::build::{compile, tools};
use crate::support::host::{clean_environment, finish};

/// Threads free each other's blocks, so that pages are filled, replaced by chunks and used again all the
/// time: what is read from here and there must still be of one moment.
#[test]
fn a_trace_that_is_still_being_written_shows_one_moment() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(compile("exchanges.c", &[]));
    clean_environment(&mut command);
    command.current_dir(directory.path()).stderr(Stdio::null());
    let mut host = command.env("LD_PRELOAD", &tools().library).spawn().unwrap();
    let mut events = Vec::new();
    for _ in 0..6 {
        std::thread::sleep(Duration::from_millis(150));
        let mut info = Command::new(&tools().analyze);
        let info = finish(info.args(["info", "trace.bin"]).current_dir(directory.path()));
        assert_eq!(info.code(), 0, "{info:?}");
        let text = &info.stdout;
        for line in ["unmatched frees: 0 ", "replaced blocks: 0 ", "nothing lost"] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let line = text.lines().find_map(|line| line.strip_prefix("events: ")).expect(text);
        let count = line.split(' ').next().unwrap().replace(',', "");
        events.push(count.parse::<u64>().unwrap());
    }
    host.kill().unwrap();
    host.wait().unwrap();
    println!("{events:?}");
    assert!(events.is_sorted() && events[0] < events[5], "{events:?}");
}
