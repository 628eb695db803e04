//! Files: readable by their owner only, and never through what somebody else put in the way.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::Host;
use crate::support::build::{compile, tools};
use crate::support::host::{Outcome, clean_environment, finish};
use crate::support::trace::counts;

fn trace_into(output: &Path, log: Option<&Path>) -> Outcome {
    let mut command = Command::new(compile("chain.c", &[]));
    clean_environment(command.arg("5").env("LD_PRELOAD", &tools().library));
    command.env("TFTRACE_OUTPUT", output);
    command.envs(log.map(|log| ("TFTRACE_LOG", log)));
    finish(&mut command)
}

#[track_caller]
fn runs_untraced_and_says_why(outcome: &Outcome) {
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    assert!(outcome.stdout.starts_with("open files"), "{outcome:?}");
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert!(lines.len() == 1 && lines[0].contains("cannot move aside"), "{outcome:?}");
}

#[test]
fn a_trace_is_readable_by_its_owner_only() {
    let trace = Host::c("chain.c").arg("5").trace();
    trace.assert_host_unharmed();
    let about = std::fs::metadata(trace.path()).unwrap();
    assert_eq!((about.permissions().mode() & 0o777, about.nlink()), (0o600, 1));
}

/// Run by root, a tracer that renames what is in its way would take the system's devices away.
#[test]
fn only_a_regular_file_is_moved_aside() {
    let place = tempfile::tempdir().unwrap();
    let [precious, link, pipe] = ["precious", "link", "pipe"].map(|name| place.path().join(name));
    std::fs::write(&precious, "precious").unwrap();
    symlink(&precious, &link).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for output in [&link, &pipe] {
        runs_untraced_and_says_why(&trace_into(output, None));
        assert!(output.symlink_metadata().is_ok(), "{}", output.display());
    }
    runs_untraced_and_says_why(&trace_into(Path::new("/dev/null"), None));
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 3);
}

/// As in `/tmp`, where root may rename what is another user's.
#[test]
fn another_users_file_in_a_shared_directory_is_left_where_it_is() {
    let place = tempfile::tempdir().unwrap();
    let theirs = place.path().join("trace.bin");
    std::fs::write(&theirs, "theirs").unwrap();
    if std::os::unix::fs::chown(&theirs, Some(65_534), None).is_err() {
        println!("skipped: needs root");
        return;
    }
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o1777)).unwrap();
    runs_untraced_and_says_why(&trace_into(&theirs, None));
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "theirs");
    // In a directory of the user's own nobody else can have put it there to trap anybody.
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    assert_eq!(trace_into(&theirs, None).stderr, "");
    assert_eq!(counts(&theirs, 10_001).allocations, 5);
}

#[test]
fn the_log_goes_into_no_link_no_pipe_and_no_file_with_two_names() {
    let place = tempfile::tempdir().unwrap();
    let names = ["precious", "link", "pipe", "second", "log", "trace.bin"];
    let [precious, link, pipe, second, log, output] = names.map(|name| place.path().join(name));
    std::fs::write(&precious, "precious").unwrap();
    symlink(&precious, &link).unwrap();
    std::fs::hard_link(&precious, &second).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for log in [&link, &second, &pipe, &log] {
        let outcome = trace_into(&output, Some(log));
        assert_eq!((outcome.code(), outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    }
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
    assert!(std::fs::read_to_string(&log).unwrap().contains("tracing into"));
    assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
}

/// The loader leaves the library out there; nothing of the user's environment may matter.
#[test]
fn a_setuid_program_is_not_traced() {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = place.path().join("setuid");
    std::fs::copy(compile("chain.c", &[]), &program).unwrap();
    let given = std::os::unix::fs::chown(&program, Some(65_534), None);
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
    if given.is_err() {
        println!("skipped: needs root");
        return;
    }
    let output = place.path().join("trace.bin");
    let mut command = Command::new(&program);
    clean_environment(command.arg("5").env("LD_PRELOAD", &tools().library));
    let outcome = finish(command.env("TFTRACE_OUTPUT", &output));
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    assert!(!output.exists());
}
