//! Labelled programs under the tracer: what the verdict says of each, against its label.
//!
//! `TFTRACE_TEST_CORPUS=all ./scripts/test corpus -- --nocapture` runs all of them; a plain run of the
//! tests takes a few of each kind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;

use crate::support::build::{repository, tools};
use crate::support::host::{clean_environment, finish};
use crate::tensorflow::python;

const FEW: [&str; 4] = ["case_21", "case_24", "case_35", "case_38"];
/// Each needs a processor and a gigabyte.
const AT_ONCE: usize = 2;
/// What the program measures of itself includes an allocator's overhead.
const TOLERANCE: f64 = 0.1;

/// What a program's header and comments say of it.
struct Label {
    is_leak: bool,
    lines: Vec<u64>,
    /// Whether what leaks is in the C heap, so that the program's own figure counts it.
    in_malloc: bool,
    /// What is asked for in an iteration, where that is known.
    requested: Option<f64>,
    iterations: f64,
}

impl Label {
    fn of(source: &str) -> Self {
        let header = |name: &str| {
            let start = format!("# {name}:");
            source.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or("").trim()
        };
        let is_marked =
            |(number, line): (usize, &str)| line.contains("LEAK-HERE").then_some(number as u64 + 1);
        let default = source.split("sys.argv) > 1 else ").nth(1).unwrap();
        let digits: String = default.chars().take_while(char::is_ascii_digit).collect();
        Self {
            is_leak: header("kind") == "leak",
            lines: source.lines().enumerate().filter_map(is_marked).collect(),
            in_malloc: header("bytes/iter").contains("malloc in-use")
                && !header("bytes/iter").contains("malloc in-use 0")
                && !header("bytes/iter").contains("only in BFC"),
            requested: header("bytes/iter")
                .split_once(" requested")
                .and_then(|(before, _)| before.rsplit_once('('))
                .and_then(|(_, bytes)| bytes.parse().ok()),
            iterations: digits.parse().unwrap(),
        }
    }
}

/// Growth of the C heap in an iteration, by the program's own checkpoints of its second half.
fn measured(stdout: &str) -> Option<f64> {
    let field = |line: &str, name: &str| -> Option<f64> {
        line.split(name).nth(1)?.split_whitespace().next()?.parse().ok()
    };
    let points: Vec<(f64, f64)> = stdout
        .lines()
        .filter(|line| line.starts_with("CKPT"))
        .filter_map(|line| Some((field(line, " i=")?, field(line, "inuse=")?)))
        .collect();
    let (first, last) = (points.get(points.len() / 2)?, points.last()?);
    Some((last.1 - first.1) / (last.0 - first.0))
}

/// Runs one program; gives its line of the table, and what is wrong.
fn judge(program: &Path) -> (String, Option<String>) {
    let source = std::fs::read_to_string(program).unwrap();
    let label = Label::of(&source);
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new(python());
    command.arg(program).current_dir(place.path());
    clean_environment(&mut command);
    command.env("LD_PRELOAD", &tools().library);
    let run = finish(&mut command);
    assert_eq!(run.code(), 0, "{}: {}", program.display(), run.stderr);
    // Of workers the one counts that has the gravest verdict.
    let reports = std::fs::read_dir(place.path()).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "bin") {
            return None;
        }
        let mut command = Command::new(&tools().analyze);
        command.args(["--json", "--no-page"]).arg(&path);
        let outcome = finish(&mut command);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        Some(serde_json::from_str::<Value>(&outcome.stdout).unwrap())
    });
    let report = reports.max_by_key(|report| report["verdict"] == "leak").unwrap();
    let suspect = &report["suspects"][0];
    let line = suspect["your_line"]["line"].as_u64();
    let rate = suspect["bytes_per_request"]["estimate"].as_f64();
    let requests = report["requests"]["count"].as_f64();
    let per_iteration = |rate: f64| Some(rate * requests? / label.iterations);
    let growth: Option<f64> =
        report["growth"]["bytes_per_request"]["estimate"].as_f64().and_then(per_iteration);
    let truth = measured(&run.stdout).filter(|_| label.in_malloc);
    let truth = label.requested.or(truth);
    let name = program.file_stem().unwrap().to_string_lossy().into_owned();
    let shown = format!(
        "{name:<40} {:<14} line {:<4} {:>10.0?} per request, {:>8.0?} per iteration, measured {:>8.0?}",
        report["verdict"].as_str().unwrap(),
        line.map_or_else(|| "-".into(), |line| line.to_string()),
        rate.unwrap_or(0.0),
        growth.unwrap_or(0.0),
        truth.unwrap_or(0.0),
    );
    let is_called_leak = report["verdict"] == "leak";
    let wrong = if is_called_leak != label.is_leak {
        Some("the verdict is wrong")
    } else if label.is_leak && !line.is_some_and(|line| label.lines.contains(&line)) {
        Some("the first suspect is not the line that leaks")
    } else if let (true, Some(truth), Some(growth)) = (label.is_leak, truth, growth)
        && (growth - truth).abs() > TOLERANCE * truth
    {
        Some("the growth is not what the program measured of itself")
    } else {
        None
    };
    (shown.clone(), wrong.map(|what| format!("{shown}: {what}")))
}

#[test]
fn labelled_programs_are_judged_as_their_labels_say() {
    let corpus = repository().join("../shared/corpus");
    let Ok(entries) = std::fs::read_dir(&corpus) else {
        println!("skipped: ../shared is absent");
        return;
    };
    let all = std::env::var("TFTRACE_TEST_CORPUS").is_ok_and(|wanted| wanted == "all");
    let mut programs: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("case_") && (all || FEW.iter().any(|few| name.starts_with(few)))
        })
        .collect();
    programs.sort();
    let probe = Command::new(python()).args(["-c", "import psutil"]).output().unwrap();
    if !probe.status.success() {
        println!("skipped: the programs need psutil, which {} has not", python().display());
        return;
    }
    let (left, judged) = (Mutex::new(programs.into_iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(program) = left.lock().unwrap().next() else { return };
                    let outcome = judge(&program);
                    println!("{}", outcome.0);
                    judged.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let wrong: Vec<String> =
        judged.into_inner().unwrap().into_iter().filter_map(|(_, wrong)| wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
