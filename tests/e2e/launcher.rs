//! `tftrace run` and `--print-lib`.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::support::build::{compile, tools};
use crate::support::host::{Outcome, clean_environment, finish};
use crate::support::trace::counts;

fn launch(directory: &Path, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(&tools().launcher);
    command.arg("run").args(arguments).current_dir(directory);
    clean_environment(&mut command);
    finish(&mut command)
}

#[test]
fn the_library_s_path_is_printed() {
    let outcome = finish(Command::new(&tools().launcher).arg("--print-lib"));
    assert_eq!(outcome.stdout, format!("{}\n", tools().library.display()));
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (0, ""));
}

#[test]
fn a_program_is_traced_and_its_output_and_status_are_its_own() {
    let place = tempfile::tempdir().unwrap();
    let program = compile("chain.c", &[]);
    let options = ["--output", "mine.bin", "--depth", "100", "--"];
    let outcome = launch(place.path(), &[&options[..], &[program.to_str().unwrap(), "7"]].concat());
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    assert!(outcome.stdout.starts_with("open files"), "{outcome:?}");
    assert_eq!(counts(&place.path().join("mine.bin"), 10_001).allocations, 7);
}

#[test]
fn exit_statuses_and_signals_are_passed_on() {
    let place = tempfile::tempdir().unwrap();
    let killed = compile("killed.c", &[]);
    assert_eq!(launch(place.path(), &["--", "false"]).code(), 1);
    assert_eq!(launch(place.path(), &["--", killed.to_str().unwrap(), "10"]).code(), 137);
}

#[test]
fn what_cannot_be_traced_is_refused_with_the_reason() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, contents: &[u8], mode: u32| {
        let path = place.path().join(name);
        std::fs::write(&path, contents).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let fixed = compile("chain.c", &["-static", "-Wno-all"]);
    let text = file("text", b"nothing to run", 0o755);
    let orphan = file("orphan", b"#!/nowhere/python\n", 0o755);
    let other = std::fs::read(compile("chain.c", &[])).unwrap();
    let setuid = file("setuid", &other, 0o755);
    let mut cases = vec![
        ("no-such-program", 127, "no such program"),
        ("/etc/passwd", 126, "not executable"),
        (fixed.to_str().unwrap(), 126, "static"),
        (&text, 126, "not a program"),
        (&orphan, 126, "/nowhere/python"),
    ];
    // Only root can give a file away.
    if chown(&setuid, Some(65_534), None).is_ok() {
        std::fs::set_permissions(&setuid, std::fs::Permissions::from_mode(0o4755)).unwrap();
        cases.push((&setuid, 126, "setuid"));
    } else {
        println!("skipped: the setuid program needs root");
    }
    for (program, code, reason) in cases {
        let outcome = launch(place.path(), &["--", program]);
        assert_eq!(outcome.code(), code, "{outcome:?}");
        let lines: Vec<_> = outcome.stderr.lines().collect();
        assert!(lines.len() == 1 && lines[0].contains(reason), "{program}: {lines:?}");
    }
    assert!(!place.path().join("trace.bin").exists());
}

#[test]
fn a_script_is_traced_by_its_interpreter_even_behind_env() {
    let place = tempfile::tempdir().unwrap();
    let program = compile("chain.c", &[]);
    // A "script" whose interpreter leaks as often as its last argument says: 9 times.
    let script = place.path().join("script");
    let link = place.path().join("interpreter");
    std::os::unix::fs::symlink(&program, &link).unwrap();
    std::fs::write(&script, "#!/usr/bin/env interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&tools().launcher);
    command.arg("run").arg("--").arg(&script).arg("9").current_dir(place.path());
    clean_environment(&mut command);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", place.path().display()));
    let outcome = finish(&mut command);
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(counts(&place.path().join("trace.bin"), 10_001).allocations, 9);
}

#[test]
fn the_service_that_a_shell_script_starts_is_traced_and_what_is_not_is_said() {
    let place = tempfile::tempdir().unwrap();
    let program = compile("chain.c", &[]);
    std::fs::copy(&program, place.path().join("python3.99")).unwrap();
    let script = place.path().join("start.sh");
    let commands = format!("#!/bin/sh\n'{}' 7\n./python3.99 5\ntrue\n", program.display());
    std::fs::write(&script, commands).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = launch(place.path(), &["--", "./start.sh"]);
    assert_eq!(outcome.code(), 0, "{outcome:?}");
    let said: Vec<_> = outcome.stderr.lines().collect();
    let [line] = said[..] else { panic!("one line: {said:?}") };
    assert!(line.contains("./start.sh: is a script of") && line.contains("--children exec"));
    assert_eq!(counts(&place.path().join("trace.bin"), 10_001).allocations, 5);
    // With all that it starts.
    let outcome = launch(place.path(), &["--children", "exec", "--", "./start.sh"]);
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(counts(&place.path().join("trace.bin"), 10_001).allocations, 5);
    let is_of_tool = |name: &str| {
        name.starts_with("trace.") && name.ends_with(".bin") && name.len() > "trace.bin".len()
    };
    let files = std::fs::read_dir(place.path()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let tools: Vec<_> = names.filter(|name| is_of_tool(name)).collect();
    let [tool] = &tools[..] else { panic!("one trace of the other program: {tools:?}") };
    assert_eq!(counts(&place.path().join(tool), 10_001).allocations, 7);
}
