//! The report for a person.

use crate::program::Folder;
use crate::services::{REQUESTS, Service};

#[test]
fn the_report_has_verdict_action_suspect_memory_losses_and_page() {
    let folder = Folder::new();
    folder.with("trace.bin", &Service::default().trace());
    let said = folder.said(&["trace.bin"]);
    let mut lines = said.lines();
    let mut next = || lines.next().unwrap_or_default();
    let verdict = next();
    assert!(verdict.starts_with("LEAK: This process leaks 1.0 kB per request (95 %: "), "{said}");
    assert!(verdict.ends_with("at /app/serve.py:42 (handle)."), "{said}");
    assert!(next().contains("Look "), "{said}");
    assert!(next().starts_with("At this rate the memory limit of 1.0 GB is reached in "), "{said}");
    for part in [
        "\nprocess:  python serve.py (pid 4), 20.0 s, ",
        "\nrequests: 2,000 (marks: request)\n",
        "\n  1. LEAK  /app/serve.py:42 (handle)\n     1.0 kB per request",
        "; 100 % of the growth; malloc\n     rests on ",
        "\n       handle  /app/serve.py:42\n",
        "\nwhere the memory is: 52.0 MB anonymous memory, ",
        "  live blocks: malloc\n",
        "\n\nnothing lost\nreport: trace.html\n",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    assert!(std::fs::metadata(folder.path("trace.html")).unwrap().len() > 100_000);
}

#[test]
fn colour_is_only_decoration_and_goes_where_it_is_not_wanted() {
    let folder = Folder::new();
    folder.with("trace.bin", &Service::default().trace());
    folder.with("trace.5.bin", &Service { pid: 5, parent_pid: 4, ..Service::default() }.trace());
    for command in [&["trace.bin", "--no-page"][..], &["merge", "trace.bin", "trace.5.bin"]] {
        let said = |variables: &[_]| {
            String::from_utf8(folder.analyze_with(command, variables).stdout).unwrap()
        };
        let force = ("CLICOLOR_FORCE", "1");
        let (bold, plain) = (said(&[force]), said(&[]));
        assert!(bold.contains("\x1b[1mLEAK\x1b[0m: "), "{bold}");
        assert!(!plain.contains('\x1b'), "stdout is a pipe");
        assert_eq!(bold.replace("\x1b[1m", "").replace("\x1b[0m", ""), plain);
        assert_eq!(said(&[force, ("NO_COLOR", "1")]), plain);
    }
}

/// Names come from the traced program and may be anything.
#[test]
fn hostile_names_do_not_command_the_terminal_and_huge_ones_do_not_hide_the_report() {
    let folder = Folder::new();
    let function = Box::leak("x".repeat(4_000).into_boxed_str());
    for (file, function) in [
        ("/app/\x1b[31m\u{202e}\r\nx.py", "han\x07dle\x1b]0;owned\x07\nLEAK: forged"),
        ("/app/serve.py", &*function),
    ] {
        folder.with("trace.bin", &Service { file, function, ..Service::default() }.trace());
        for command in [
            &["trace.bin", "--no-page"][..],
            &["check", "trace.bin"],
            &["merge", "trace.bin"],
            &["sites", "trace.bin", "--no-svg"],
        ] {
            let said = String::from_utf8(folder.analyze(command).stdout).unwrap();
            let commands = ['\x1b', '\x07', '\r', '\u{202e}'];
            assert!(!said.contains(commands), "{command:?}: {said:?}");
            assert!(!said.contains("\nLEAK: forged"), "{command:?}: {said}");
            assert!(
                said.contains("handle") || said.contains("xxx") || said.contains("han?dle"),
                "{said}"
            );
        }
        folder.json(&["trace.bin", "--json", "--no-page"]);
    }
}

#[test]
fn the_page_never_replaces_the_trace_and_open_shows_it() {
    let folder = Folder::new();
    let bytes = Service { requests: 100, ..Service::default() }.trace();
    let trace = folder.with("trace.bin", &bytes);
    let output = folder.analyze(&["trace.bin", "--output", "./trace.bin"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(std::fs::read(&trace).unwrap(), bytes);
    let seen = folder.path("seen");
    let script = format!("echo noise; echo noise >&2; echo \"$@\" > '{}'", seen.display());
    let browser = format!("sh {}", folder.with("browser.sh", script.as_bytes()).display());
    let output = folder.analyze_with(&["trace.bin", "--open"], &[("BROWSER", &browser)]);
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    assert!(std::fs::read_to_string(seen).unwrap().ends_with("trace.html\n"));
}

#[test]
fn requests_are_the_calls_of_the_function_that_is_named() {
    let folder = Folder::new();
    folder.with("trace.bin", &Service { marks: false, places: 4, ..Service::default() }.trace());
    folder.with("marked.bin", &Service { places: 4, ..Service::default() }.trace());
    let counted = |trace: &str, arguments: &[&str], variables: &[_]| {
        let arguments = [&[trace, "--no-page"], arguments].concat();
        let said = String::from_utf8(folder.analyze_with(&arguments, variables).stdout).unwrap();
        said.lines().find_map(|line| line.strip_prefix("requests: ")).unwrap_or(&said).to_owned()
    };
    let by_line = counted("trace.bin", &[], &[]);
    assert_eq!(by_line, "2,000 (calls of the line /app/serve.py:42 (handle))");
    let named = "2,000 (calls of serve.py:handle, as asked for)";
    assert_eq!(counted("trace.bin", &["--requests", "serve.py:handle"], &[]), named);
    let variable = ("TFTRACE_REQUESTS", "serve.py:handle");
    assert_eq!(counted("marked.bin", &[], &[variable]), named, "before marks");
    let other = counted("trace.bin", &["--requests", "other"], &[]);
    assert_eq!(other, "not counted: seconds; no calls of other were seen to repeat");
}

/// Windows of equal lengths would be longer than all of its requests took.
#[test]
fn requests_of_half_a_minute_are_judged_among_hours_without_any() {
    let folder = Folder::new();
    let hours = |before: u64, after: u64| (before * 3600, after * 3600);
    let kinds = [
        (true, 1_000, hours(5, 0)),
        (true, 1_000, hours(0, 5)),
        (true, 1_000, hours(3, 20)),
        (true, 0, hours(3, 20)),
        // What ended hours ago may have been start-up, unless the program says that it was requests.
        (false, 1_000, hours(5, 0)),
        (false, 0, hours(5, 0)),
    ];
    for (marks, leaks, (idle, idle_after)) in kinds {
        let service = Service { marks, leaks, idle, idle_after, places: 4, ..Service::default() };
        folder.with("trace.bin", &service.trace());
        let report = folder.json(&["trace.bin", "--json", "--no-page"]);
        let suspects = report["suspects"].as_array().unwrap();
        let case = format!("{service:?}: {}", report["sentence"]);
        if leaks == 0 {
            assert_eq!(report["verdict"], "steady", "{case}");
            continue;
        }
        assert_eq!(report["verdict"], "leak", "{case}");
        let rate = suspects[0]["bytes_per_request"]["estimate"].as_f64().unwrap();
        assert!((rate / 1_000.0 - 1.0).abs() < 0.05, "{rate}: {case}");
    }
}

/// What fills a cache has more call stacks than all that every request does.
#[test]
fn requests_are_all_calls_and_not_those_that_find_nothing_in_a_cache() {
    let folder = Folder::new();
    let service = Service { leaks: 0, marks: false, places: 4, misses: 60, ..Service::default() };
    folder.with("trace.bin", &service.trace());
    for arguments in [&[][..], &["--requests", "serve.py:handle"]] {
        let arguments = [&["trace.bin", "--json", "--no-page"], arguments].concat();
        let report = folder.json(&arguments);
        assert_eq!(report["requests"]["count"], REQUESTS as f64, "{}", report["requests"]);
        assert_eq!(report["verdict"], "cache-filling", "{}", report["sentence"]);
    }
}

#[test]
fn requests_are_counted_and_timed_where_all_that_they_allocate_is_only_counted() {
    let report = timed_requests(0);
    // Of the events none is of memory.
    assert_eq!(report["process"]["events"], REQUESTS * 40);
}

#[test]
fn requests_are_timed_by_what_was_recorded_where_there_is_such() {
    timed_requests(1_000);
}

/// The report on a service that keeps so many bytes of a request; when its requests were is right.
fn timed_requests(leaks: u64) -> serde_json::Value {
    let folder = Folder::new();
    let service = Service { leaks, marks: false, places: 40, folds: true, ..Service::default() };
    folder.with("trace.bin", &service.trace());
    let report = folder.json(&["trace.bin", "--json", "--no-page"]);
    let line = &report["time_line"];
    let numbers = |name: &str| {
        let values = line[name].as_array().unwrap().iter();
        values.map(|value| value.as_f64().unwrap()).collect::<Vec<_>>()
    };
    let (seconds, requests) = (numbers("seconds"), numbers("requests"));
    assert_eq!(requests.last(), Some(&(REQUESTS as f64)), "{requests:?}");
    for (at, done) in seconds.iter().zip(&requests).filter(|(at, _)| **at > 5.0) {
        let expected = if *at < 10.0 { at * 100.0 } else { 1000.0 + (at - 10.0) * 100.0 / 3.0 };
        assert!((done - expected).abs() < 40.0, "{done} of {expected} requests after {at} s");
    }
    report
}
