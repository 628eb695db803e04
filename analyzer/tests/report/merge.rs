//! Several processes in one report.

use serde_json::Value;

use crate::program::Folder;
use crate::services::Service;

/// A parent that does nothing, and three workers of which the second leaks.
fn prefork() -> Folder {
    let folder = Folder::new();
    let worker = |pid, leaks| Service { pid, parent_pid: 10, leaks, ..Service::default() };
    let parent = Service { pid: 10, leaks: 0, marks: false, ..Service::default() };
    folder.with("trace.bin", &parent.trace());
    folder.with("trace.11.bin", &worker(11, 0).trace());
    folder.with("trace.12.bin", &worker(12, 1000).trace());
    folder.with("trace.13.bin", &worker(13, 0).trace());
    folder
}

const ALL: [&str; 5] = ["merge", "trace.bin", "trace.11.bin", "trace.12.bin", "trace.13.bin"];

#[test]
fn the_worker_that_leaks_is_named_with_its_line() {
    let folder = prefork();
    let said = folder.said(&ALL);
    assert!(said.starts_with("LEAK: 1 of 4 processes leaks 1.0 kB per request"), "{said}");
    assert!(said.lines().next().unwrap().ends_with("at /app/serve.py:42 (handle)."), "{said}");
    let row = |pid: &str| {
        let mut rows = said.lines().filter(|line| line.trim_start().starts_with(pid));
        rows.next().unwrap_or_else(|| panic!("{pid}: {said}")).to_owned()
    };
    assert!(row("11").contains("STEADY") && row("11").contains("2,000"), "{said}");
    assert!(row("12").contains("LEAK") && row("12").contains("1.0 kB per request"), "{said}");
    assert!(said.contains("\n     in pid 12 (LEAK)\n"), "{said}");
    assert!(said.contains("\nnothing lost\n"), "{said}");
}

#[test]
fn processes_that_leak_at_the_same_line_are_one_suspect_with_the_sum_of_their_growth() {
    let folder = prefork();
    folder.with(
        "trace.13.bin",
        &Service { pid: 13, leaks: 3000, requests: 1000, ..Service::default() }.trace(),
    );
    let merged = folder.json(&[&ALL[..], &["--json"]].concat());
    assert_eq!(merged["verdict"], "leak");
    let suspect = &merged["suspects"][0];
    assert_eq!(suspect["your_line"]["line"], 42);
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    // 2,000 requests that leak 1,000 bytes each, 1,000 that leak 3,000 each.
    let rate = number(&suspect["bytes_per_request"]["estimate"]);
    assert!((rate - 1666.7).abs() < 20.0, "{rate}");
    let held = number(&suspect["held_bytes"]);
    assert!((held - 5_000_000.0).abs() < 100_000.0, "{held}");
    let pids: Vec<_> =
        suspect["processes"].as_array().unwrap().iter().map(|it| it["pid"].as_u64()).collect();
    assert_eq!(pids, [Some(12), Some(13)]);
    let per_second: f64 = merged["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|report| report["growth"]["bytes_per_second"]["estimate"].as_f64().unwrap_or(0.0))
        .sum();
    let sum = number(&merged["growth"]["bytes_per_second"]["estimate"]);
    assert!((sum - per_second).abs() < 1.0, "{sum} {per_second}");
    // Each alone has all that is free; together they share it.
    let until = |value: &Value| number(&value["growth"]["seconds_to_limit"]);
    let (two, three) = (until(&merged["processes"][2]), until(&merged["processes"][3]));
    assert!((1.0 / until(&merged) - 1.0 / two - 1.0 / three).abs() < 1e-9);
}

#[test]
fn without_a_leak_it_says_so_and_a_trace_given_twice_counts_once() {
    let folder = prefork();
    let said = folder.said(&["merge", "trace.11.bin", "trace.13.bin", "./trace.13.bin"]);
    assert!(said.starts_with("STEADY: No leak in any of 2 processes.\n"), "{said}");
    let merged = folder.json(&["merge", "trace.11.bin", "--json"]);
    assert_eq!(merged["processes"].as_array().unwrap().len(), 1);
    let output = folder.analyze(&["merge", "trace.11.bin", "missing.bin"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    assert_eq!(folder.analyze(&["merge"]).status.code(), Some(2));
}

#[test]
fn a_page_is_written_beside_the_first_trace_and_never_over_one() {
    let folder = prefork();
    let said = folder.said(&ALL);
    assert!(said.ends_with("\nreport: trace.merged.html\n"), "{said}");
    let page = std::fs::read_to_string(folder.path("trace.merged.html")).unwrap();
    assert!(page.contains("<title>tftrace: python serve.py, 4 processes</title>"));
    assert!(page.contains("1 of 4 processes leaks"));
    folder.said(&[&ALL[..], &["--output", "all.html", "--json"]].concat());
    assert!(folder.path("all.html").is_file());
    std::fs::remove_file(folder.path("trace.merged.html")).unwrap();
    folder.said(&[&ALL[..], &["--no-page"]].concat());
    assert!(!folder.path("trace.merged.html").exists());
    let over = folder.analyze(&[&ALL[..], &["--output", "trace.12.bin"]].concat());
    let error = String::from_utf8_lossy(&over.stderr).into_owned();
    assert_eq!((over.status.code(), over.stdout.as_slice()), (Some(1), &b""[..]), "{error}");
    assert!(error.contains("trace.12.bin: --output: is the trace itself"), "{error}");
}

/// Who analyzes the parent alone learns nothing of the workers, and must be told.
#[test]
fn the_report_on_a_parent_mentions_its_children() {
    let folder = prefork();
    let said = folder.said(&["trace.bin", "--no-page"]);
    let line = "\n3 other processes of this run have traces: tftrace-analyze merge trace.bin trace.11.bin …\n";
    assert!(said.contains(line), "{said}");
    assert!(!folder.said(&["trace.11.bin", "--no-page"]).contains("other process"));
    let report = folder.json(&["trace.bin", "--json", "--no-page"]);
    assert_eq!(report["process"]["children"][2], "trace.13.bin");
}
