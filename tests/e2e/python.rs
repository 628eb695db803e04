//! Python functions on stacks, on every interpreter that is at hand.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::support::Host;
use crate::support::build::repository;
use crate::support::trace::{Trace, analyze, folded, folded_of, number_after};

/// Interpreters to try, of the versions that the tracer knows.
pub(crate) fn interpreters() -> Vec<PathBuf> {
    let known = |python: &PathBuf| ((3, 9)..=(3, 14)).contains(&version(python));
    all_interpreters().into_iter().filter(known).collect()
}

/// Those of the path, and those that pyenv keeps.
fn all_interpreters() -> Vec<PathBuf> {
    let mut found: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let mut candidates: Vec<PathBuf> = vec![crate::tensorflow::python()];
    for minor in 9..=14 {
        candidates.push(format!("/usr/bin/python3.{minor}").into());
        candidates.push(format!("/usr/local/bin/python3.{minor}").into());
    }
    let pyenv = std::env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".pyenv")));
    if let Some(versions) = pyenv.and_then(|root| std::fs::read_dir(root.join("versions")).ok()) {
        candidates.extend(versions.flatten().map(|version| version.path().join("bin/python3")));
    }
    for candidate in candidates {
        // Two names of one interpreter are one, but an environment's has packages of its own.
        let key = candidate.canonicalize().unwrap_or_default();
        if candidate.is_file() {
            found.entry(key).or_insert(candidate);
        }
    }
    found.into_values().collect()
}

fn version(python: &PathBuf) -> (u32, u32) {
    let print = "import sys; print(*sys.version_info[:2])";
    let done = Command::new(python).args(["-c", print]).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Bytes by stack, as the program itself counted them: only Python's frames.
fn expected(trace: &Trace) -> BTreeMap<String, u64> {
    let mut stacks = BTreeMap::new();
    for line in trace.traced.stdout.lines() {
        let (size, stack) = line.split_once('\t').unwrap_or_else(|| panic!("{line:?}"));
        *stacks.entry(stack.to_owned()).or_default() += size.parse::<u64>().unwrap();
    }
    stacks
}

fn is_python(frame: &str) -> bool {
    let Some((_, place)) = frame.rsplit_once(" (") else { return false };
    let file = place.trim_end_matches(')').rsplit_once(':').map_or(place, |(file, _)| file);
    file.ends_with(".py") || file.starts_with('<')
}

/// The same from the trace: what was allocated by a C function that Python called through ctypes.
fn traced(trace: &Trace) -> BTreeMap<String, u64> {
    let mut stacks = BTreeMap::new();
    for (frames, bytes) in folded(&trace.path(), "unfreed") {
        let leaf = frames.last().unwrap();
        if frames[0] == "malloc" && (leaf.contains("libffi") || leaf.starts_with("ffi_call")) {
            let python: Vec<_> = frames.into_iter().filter(|frame| is_python(frame)).collect();
            if !python.iter().any(|frame| frame.starts_with("mark (")) {
                continue; // What ctypes itself needs.
            }
            *stacks.entry(python.join(";")).or_default() += bytes;
        }
    }
    stacks
}

#[test]
fn python_stacks_are_those_that_traceback_gives() {
    let mut checked = 0;
    for python in interpreters() {
        let program = repository().join("tests/programs/python_stacks.py");
        // The program's sizes differ from run to run, so there is no plain run to compare with.
        let mut host = Host::program(python.clone()).arg(program);
        if checked == 0 {
            // Once as with glibc before 2.35.
            host = host.env("TFTRACE_OBJECTS", "list");
        }
        let trace = host.trace();
        assert_eq!(trace.traced.code(), 0, "{trace:?}");
        let (expected, traced) = (expected(&trace), traced(&trace));
        assert!(expected.len() > 400, "{} stacks", expected.len());
        for (stack, bytes) in &expected {
            assert_eq!(traced.get(stack), Some(bytes), "{}: {stack}", python.display());
        }
        assert_eq!(expected.len(), traced.len(), "{}", python.display());
        println!("{}: {} stacks are the same", python.display(), expected.len());
        checked += 1;
    }
    assert!(checked > 0, "the interpreter that runs TensorFlow is one of them");
}

/// Most frames of a deep stack are not looked at again where they cannot have run since. Every seventh stack: the time
/// that a check takes would count as theirs.
#[test]
fn callers_far_from_the_leaf_are_where_a_whole_walk_finds_them() {
    for python in interpreters() {
        let program = repository().join("tests/programs/deep_python.py");
        let trace =
            Host::program(python.clone()).arg(program).env("TFTRACE_CHECK_UNWIND", "7").trace();
        trace.assert_host_ends_with(0);
        let info = analyze(&["info"], &trace.path());
        let line = info.lines().find(|line| line.contains("unwinding")).expect(&info);
        println!("{}: {line}", python.display());
        let checked = number_after(line, "unwinding").expect(line);
        assert!(checked >= 5_000, "{}: {line}", python.display());
        let agree = number_after(line, "incremental and full agree in");
        assert_eq!(agree, Some(checked), "{}: {line}", python.display());
    }
}

/// Small ones stand in arenas, large ones come from malloc; both are Python's, at the line that made them.
#[test]
fn kept_python_objects_are_counted_exactly_at_their_line() {
    for python in interpreters() {
        let program = repository().join("tests/programs/python_objects.py");
        let trace = Host::program(python.clone()).arg(program).trace();
        trace.assert_host_ends_with(0);
        let words: Vec<&str> = trace.traced.stdout.split_whitespace().collect();
        let [line, small, large] = words[..] else { panic!("{trace:?}") };
        let frame = format!("keep (python_objects.py:{line})");
        let (mut in_arenas, mut from_malloc, mut elsewhere) = (0, 0, 0);
        for (frames, bytes) in folded_of(&trace.path(), &["--domain", "python"]) {
            match frames.last().unwrap() {
                leaf if *leaf == frame => in_arenas += bytes,
                _ if frames.contains(&frame) => from_malloc += bytes,
                _ if frames.iter().any(|it| it.starts_with("drop (")) => elsewhere += bytes,
                _ => {}
            }
        }
        let name = python.display();
        // Until 3.10 a function that is called often gets a cache, where it is called.
        let cache = if version(&python) < (3, 11) { in_arenas % 1000 } else { 0 };
        assert!(cache < 300, "{name}: {in_arenas}");
        assert_eq!(
            ((in_arenas - cache).to_string(), from_malloc.to_string()),
            (small.into(), large.into()),
            "{name}"
        );
        assert!(elsewhere < 1000, "{name}: what was dropped is gone: {elsewhere}");
        let plain = Host::program(python.clone())
            .arg(repository().join("tests/programs/python_objects.py"))
            .env("TFTRACE_PYTHON", "0")
            .trace();
        assert_eq!(folded_of(&plain.path(), &["--domain", "python"]), [], "{name}");
    }
}

/// A leak that is gone at the very end is one all the same, also one that is a moment old.
#[test]
fn what_python_frees_while_it_shuts_down_counts_as_unfreed() {
    for (python, pairs) in interpreters().into_iter().flat_map(|python| {
        // Of a few everything still stands in the thread's open page when it is freed.
        ["500", "5"].map(|pairs| (python.clone(), pairs))
    }) {
        let program = repository().join("tests/programs/kept_until_exit.py");
        let trace = Host::program(python.clone()).arg(program).arg(pairs).trace();
        trace.assert_host_ends_with(0);
        let name = format!("{}, {pairs} pairs", python.display());
        let kept: u64 = trace.traced.stdout.trim().parse().unwrap();
        let stacks = folded_of(&trace.path(), &["--domain", "python", "--frames", "python"]);
        let line = "keep (kept_until_exit.py:18)";
        let found = stacks.iter().filter(|(frames, _)| frames.last().unwrap() == line);
        let found: u64 = found.map(|(_, bytes)| bytes).sum();
        assert_eq!(found, kept, "{name}");
        let report = analyze(&["sites", "--no-svg"], &trace.path());
        assert!(report.contains("unfreed when Python shut down"), "{name}: {report}");
    }
}

/// The collection at exit frees what nothing held; what comes after it frees what was held as well.
#[test]
fn garbage_that_waits_is_told_from_what_is_held() {
    for python in interpreters() {
        // Where later versions have their collector is not known.
        if !((3, 9)..=(3, 13)).contains(&version(&python)) {
            continue;
        }
        for blocks in ["1", "0"] {
            let program = repository().join("tests/programs/garbage.py");
            let host = Host::program(python.clone()).arg(program).env("TFTRACE_PYTHON", blocks);
            let trace = host.trace();
            trace.assert_host_unharmed();
            let report = analyze(&["--json", "--no-page"], &trace.path());
            let report: serde_json::Value = serde_json::from_str(&report).unwrap();
            let verdict = |function: &str| {
                let suspects = report["suspects"].as_array().unwrap();
                let suspect =
                    suspects.iter().find(|suspect| suspect["your_line"]["function"] == function);
                suspect.map(|suspect| suspect["verdict"].as_str().unwrap().to_owned())
            };
            let shown = format!("{}, TFTRACE_PYTHON={blocks}: {report:#}", python.display());
            assert_eq!(verdict("hold").as_deref(), Some("leak"), "{shown}");
            if blocks == "1" {
                assert_eq!(verdict("leave").as_deref(), Some("sawtooth"), "{shown}");
            }
        }
    }
}

/// What a program frees when it ends was kept while it answered requests.
#[test]
fn what_is_kept_until_the_program_ends_is_a_leak_whoever_frees_it_then() {
    for python in interpreters() {
        let report = |mode: &str| -> serde_json::Value {
            let program = repository().join("tests/programs/endings.py");
            let trace = Host::program(python.clone()).arg(program).arg(mode).trace();
            trace.assert_host_ends_with(0);
            serde_json::from_str(&analyze(&["--json", "--no-page"], &trace.path())).unwrap()
        };
        for mode in ["function", "threads", "daemons"] {
            let report = report(mode);
            let shown = format!("{}, {mode}: {}", python.display(), report["sentence"]);
            assert_eq!(report["verdict"], "leak", "{shown}");
            let rate = report["growth"]["bytes_per_request"]["estimate"].as_f64().unwrap();
            // The block, its object, and its place in the list.
            assert!((1500.0..1700.0).contains(&rate), "{shown}");
            let says_when = shown.contains(" as it ended.");
            // What daemons hold is freed after Python has begun to shut down.
            assert_eq!(says_when, mode != "daemons", "{shown}");
        }
        let emptied = report("emptied");
        let shown = format!("{}: {emptied:#}", python.display());
        assert!(emptied["verdict"] != "leak" && emptied["verdict"] != "undecided", "{shown}");
    }
}

/// CPython keeps a number of tuples for the next ones: that is no leak, if it is no more and nothing holds them.
#[test]
fn tuples_that_are_idle_in_free_lists_are_no_leak() {
    let mut seen = false;
    for python in interpreters() {
        let report = |mode: &str, requests: &str| -> serde_json::Value {
            let program = repository().join("tests/programs/endings.py");
            let host = Host::program(python.clone()).arg(program).arg(mode).arg(requests);
            let trace = host.trace();
            trace.assert_host_ends_with(0);
            serde_json::from_str(&analyze(&["--json", "--no-page"], &trace.path())).unwrap()
        };
        let idle = report("tuples", "1500");
        let shown = format!("{}: {idle:#}", python.display());
        assert!(idle["verdict"] != "leak" && idle["verdict"] != "undecided", "{shown}");
        // Where it has enough of the memory to be listed.
        let suspects = idle["suspects"].as_array().unwrap();
        let here = suspects.iter().find(|suspect| suspect["your_line"]["function"] == "tuples");
        if let Some(here) = here {
            assert_eq!(here["patterns"][0]["id"], "free-lists-fill", "{shown}");
            seen = true;
        }
        // There are more than a list takes; or there is something that holds them.
        for (mode, requests) in [
            ("kept-tuples", "4000"),
            ("kept-tuples", "1500"),
            ("kept-dicts", "1000"),
            ("kept-in-set", "1000"),
        ] {
            let kept = report(mode, requests);
            let shown = format!("{}, {mode}: {}", python.display(), kept["sentence"]);
            assert_eq!(kept["verdict"], "leak", "{shown}");
        }
    }
    assert!(seen || interpreters().is_empty(), "it is listed where there are few other lines");
}

/// What free lists pass on is not the line's that asked for it; the list that grows is where it is filled.
#[test]
fn what_keeps_small_objects_is_named_whoever_asked_for_their_memory() {
    for python in interpreters() {
        let program = repository().join("tests/programs/kept_records.py");
        let trace = Host::program(python.clone()).arg(program).trace();
        trace.assert_host_unharmed();
        let report = analyze(&["--json", "--no-page"], &trace.path());
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["verdict"], "leak", "{}: {}", python.display(), report["sentence"]);
        let action = report["action"].as_str().unwrap();
        // Functions of the interpreter have no names in most distributions.
        let action = action.replace("a list or dict", "a list");
        let kept_by = "Look first at a list that grows at ";
        let named = action
            .split_once(kept_by)
            .map(|(_, rest)| rest.split('.').take(2).collect::<Vec<_>>().join("."));
        let named = named.unwrap_or_else(|| panic!("{}: {action}", python.display()));
        assert!(named.ends_with("kept_records.py:19 (note)"), "{}: {action}", python.display());
        let (id, sum) =
            (&report["suspects"][0]["patterns"][0]["id"], &report["growth"]["bytes_per_request"]);
        assert_eq!(id, "small-objects-kept", "{}", python.display());
        // 64 bytes for the tuple, 48 for its floats, 64 for the list, 28 for the number, and 4 to 9 in the list of records.
        let sum = sum["estimate"].as_f64().unwrap();
        assert!((195.0..215.0).contains(&sum), "{}: {sum}", python.display());
    }
}

/// Windows follow requests, and not the clock alone; and where there are none it is said that nothing was done.
#[test]
fn a_program_that_stands_idle_is_judged_by_its_requests() {
    let Some(python) = interpreters().into_iter().next_back() else {
        println!("skipped: no Python here");
        return;
    };
    let report = |marks: &[&str]| -> serde_json::Value {
        let program = repository().join("tests/programs/kept_records.py");
        let host = Host::program(python.clone()).arg(program).arg("1.5");
        let trace = marks.iter().fold(host, |host, mark| host.arg(mark)).trace();
        serde_json::from_str(&analyze(&["--json", "--no-page"], &trace.path())).unwrap()
    };
    let marked = report(&[]);
    assert_eq!(marked["verdict"], "leak", "{}", marked["sentence"]);
    let rate = marked["growth"]["bytes_per_request"]["estimate"].as_f64().unwrap();
    assert!((190.0..220.0).contains(&rate), "{rate}");
    let unmarked = report(&["unmarked"]);
    let action = unmarked["action"].as_str().unwrap();
    assert_eq!(unmarked["requests"]["count"], serde_json::Value::Null, "{action}");
    assert!(
        action.contains("did next to nothing in the last"),
        "{}: {action}",
        unmarked["sentence"]
    );
}

#[test]
fn an_unknown_interpreter_is_named_in_one_line() {
    let old = all_interpreters().into_iter().find(|python| version(python) < (3, 9));
    let Some(python) = old else {
        println!("skipped: every interpreter here is known");
        return;
    };
    let trace = Host::program(python).arg("-c").arg("print(1)").trace();
    assert_eq!((trace.traced.code(), trace.traced.stdout.as_str()), (0, "1\n"));
    let lines: Vec<_> = trace.traced.stderr.lines().collect();
    assert!(
        matches!(lines[..], [line] if line.contains("call stacks have no Python functions")),
        "{lines:?}"
    );
}
