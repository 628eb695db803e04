//! Processes: fork, exec, the names of traces, and ends without warning.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::Host;
use crate::support::build::{compile, tools};
use crate::support::host::clean_environment;
use crate::support::trace::{analyze, counts};

#[test]
fn a_forked_child_has_a_trace_of_its_own() {
    let trace = Host::c("forks.c").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 200, 0), (10_003, 0, 0)]);
    let files = trace.files();
    let child: Vec<_> = files.iter().filter(|name| *name != "trace.bin").collect();
    let [child] = child[..] else { panic!("one trace beside trace.bin: {files:?}") };
    let pid = child.strip_prefix("trace.").and_then(|rest| rest.strip_suffix(".bin"));
    assert!(pid.is_some_and(|pid| pid.parse::<u32>().is_ok()), "{files:?}");
    let child = trace.directory.join(child);
    assert_eq!(counts(&child, 10_003).allocations, 50);
    let report = analyze(&["--no-page"], &trace.path());
    assert!(
        report.contains("\n1 other process of this run has a trace: tftrace-analyze merge "),
        "{report}"
    );
    let merged = analyze(&["merge", child.to_str().unwrap()], &trace.path());
    assert!(merged.contains(&format!("\n{:>9}  ", pid.unwrap_or_default())), "{merged}");
}

#[test]
fn a_program_that_the_traced_one_executes_is_left_alone() {
    let trace = Host::c("executes.c").arg("spawn").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 20, 0), (10_003, 0, 0)]);
    assert_eq!(trace.files(), ["trace.bin"]);
}

/// As a wrapper script does that ends in `exec python "$@"`.
#[test]
fn a_program_that_takes_the_traced_one_s_place_has_a_trace_of_its_own() {
    let trace = Host::c("executes.c").arg("replace").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 20, 0), (10_003, 0, 0)]);
    let files = trace.files();
    let [later] = files.iter().filter(|name| *name != "trace.bin").collect::<Vec<_>>()[..] else {
        panic!("one trace beside trace.bin: {files:?}")
    };
    assert_eq!(counts(&trace.directory.join(later), 10_003).allocations, 30, "{files:?}");
}

/// A shell, or what stands in front of a command, becomes the program that is meant: the name is for that.
#[test]
fn a_program_that_a_shell_becomes_has_the_trace() {
    let program = compile("chain.c", &[]);
    let script = "exec env \"$0\" 5";
    let host = Host::program("/bin/sh").arg("-c").arg(script).arg(program.to_str().unwrap());
    let trace = host.trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 5, 0)]);
    assert_eq!(trace.files(), ["trace.bin"]);
}

/// A start script calls tools before and after the service, and does not become it.
#[test]
fn a_service_that_a_script_starts_has_the_trace() {
    let place = tempfile::tempdir().unwrap();
    let tool = compile("chain.c", &[]);
    let service = place.path().join("python3.99");
    std::fs::copy(&tool, &service).unwrap();
    let [tool, service] = [&tool, &service].map(|path| path.to_str().unwrap());
    let script = "\"$0\" 7; timeout 60 \"$1\" 5; \"$0\" 7";
    let host = Host::program("/bin/sh").arg("-c").arg(script).arg(tool).arg(service);
    let trace = host.trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 5, 0)]);
    assert_eq!(trace.files(), ["trace.bin"]);
}

#[test]
fn what_stands_in_front_of_a_command_leaves_it_the_trace() {
    let program = compile("chain.c", &[]);
    let trace = Host::program("timeout").arg("60").arg(program.to_str().unwrap()).arg("5").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 5, 0)]);
    assert_eq!(trace.files(), ["trace.bin"]);
}

/// In a container the service is process 1.
#[test]
fn a_program_that_process_1_executes_is_left_alone() {
    let program = compile("executes.c", &[]);
    let new_ids = ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"];
    let can = Command::new("unshare").args(new_ids).arg("true").status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no process can be process 1 here (unshare)");
        return;
    }
    let host =
        new_ids.into_iter().fold(Host::program("unshare"), |host, argument| host.arg(argument));
    let trace = host.arg(program.to_str().unwrap()).arg("spawn").trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 20, 0), (10_003, 0, 0)]);
    assert_eq!(trace.files(), ["trace.bin"]);
}

/// As when a service's health is checked by a program of its own, again and again.
#[test]
fn the_trace_of_a_program_that_runs_stays_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let command = |program: &Path| {
        let mut command = Command::new(program);
        clean_environment(&mut command);
        command.env("LD_PRELOAD", &tools().library).current_dir(directory.path());
        command.env("TFTRACE_OUTPUT", "trace.bin").stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    };
    let mut service = command(&compile("switched.c", &[])).spawn().unwrap();
    // It answers when it has recorded something.
    service.stdin.as_mut().unwrap().write_all(b"a").unwrap();
    service.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    let check = compile("chain.c", &[]);
    let checks = [(); 2].map(|()| {
        let mut check = command(&check).arg("5").spawn().unwrap();
        assert!(check.wait().unwrap().success());
        directory.path().join(format!("trace.{}.bin", check.id()))
    });
    drop(service.stdin.take());
    assert!(service.wait().unwrap().success());
    for trace in checks {
        assert_eq!(counts(&trace, 10_001).allocations, 5);
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
    let report = analyze(&["info"], &directory.path().join("trace.bin"));
    assert!(report.contains(&format!("\npid: {} ", service.id())), "{report}");
    // It has ended: its trace is an old one.
    assert!(command(&check).arg("5").spawn().unwrap().wait().unwrap().success());
    assert!(directory.path().join("trace.bin.1").exists());
    assert_eq!(counts(&directory.path().join("trace.bin"), 10_001).allocations, 5);
}

#[test]
fn an_executed_program_is_traced_on_request() {
    for how in ["spawn", "replace"] {
        let trace = Host::c("executes.c").arg(how).env("TFTRACE_CHILDREN", "exec").trace();
        trace.assert_host_unharmed();
        let files = trace.files();
        let traces: Vec<PathBuf> = files.iter().map(|name| trace.directory.join(name)).collect();
        let all = |size| traces.iter().map(|it| counts(it, size).allocations).sum::<u64>();
        assert_eq!(files.len(), 2, "{how}: {files:?}");
        assert_eq!((all(10_001), all(10_003)), (20, 30), "{how}: {files:?}");
    }
}

#[test]
fn an_existing_trace_is_moved_aside() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("trace.bin");
    for round in 0..3 {
        let run =
            Host::c("chain.c").arg("5").env("TFTRACE_OUTPUT", output.to_str().unwrap()).trace();
        run.assert_host_unharmed();
        let names =
            [&output, &directory.path().join("trace.bin.1"), &directory.path().join("trace.bin.2")];
        for (number, name) in names.iter().enumerate() {
            assert_eq!(name.exists(), number <= round, "{} after run {round}", name.display());
        }
    }
    for name in ["trace.bin", "trace.bin.1", "trace.bin.2"] {
        assert_eq!(counts(&directory.path().join(name), 10_001).allocations, 5, "{name}");
    }
}

#[test]
fn percent_p_stands_for_the_process_id() {
    let trace = Host::c("chain.c").arg("5").env("TFTRACE_OUTPUT", "run-%p.bin").trace();
    trace.assert_host_unharmed();
    let files = trace.files();
    let pid = files[0].strip_prefix("run-").and_then(|rest| rest.strip_suffix(".bin"));
    assert!(files.len() == 1 && pid.is_some_and(|pid| pid.parse::<u32>().is_ok()), "{files:?}");
    assert_eq!(counts(&trace.directory.join(&files[0]), 10_001).allocations, 5);
}

#[test]
fn an_unknown_setting_is_named_in_one_line() {
    let trace = Host::c("chain.c").arg("5").env("TFTRACE_FOO", "1").trace();
    trace.assert_host_ends_with(0);
    let lines: Vec<_> = trace.traced.stderr.lines().collect();
    assert!(lines.len() == 1 && lines[0].contains("TFTRACE_FOO"), "{lines:?}");
    trace.assert_counts(&[(10_001, 5, 0)]);
}

#[test]
fn without_a_place_for_the_trace_the_host_runs_on_and_one_line_says_so() {
    let trace = Host::c("chain.c").arg("5").in_unwritable_directory().trace();
    trace.assert_host_ends_with(0);
    let lines: Vec<_> = trace.traced.stderr.lines().collect();
    assert!(lines.len() == 1 && lines[0].starts_with("tftrace: "), "{lines:?}");
}

#[test]
fn sigkill_loses_no_event() {
    let trace = Host::c("killed.c").arg("20000").trace();
    trace.assert_host_ends_with(-9);
    trace.assert_counts(&[(10_001, 80_000, 0), (10_003, 80_000, 80_000)]);
}

#[test]
fn another_preloaded_allocator_keeps_working_underneath() {
    let places =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let library = places.map(|place| PathBuf::from(place).join("libjemalloc.so.2"));
    let Some(library) = library.iter().find(|it| it.is_file()) else {
        println!("skipped: libjemalloc.so.2 is not installed");
        return;
    };
    let trace = Host::c("threads_own.c").arg("4").arg("5000").preload(library).trace();
    trace.assert_host_unharmed();
    trace.assert_counts(&[(10_001, 20_000, 20_000 - 40)]);
}
