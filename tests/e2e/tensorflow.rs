//! The real thing: TensorFlow under the tracer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::support::Host;
use crate::support::build::{must_succeed, repository};
use crate::support::trace::{Trace, analyze, folded, folded_of, is_frame, number_after};

/// The interpreter of the virtual environment, set up if need be.
pub(crate) fn python() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON
        .get_or_init(|| {
            let mut script = Command::new(repository().join("scripts/venv.sh"));
            PathBuf::from(must_succeed(&mut script).trim())
        })
        .clone()
}

/// The example, run once for all tests that look at its trace.
fn example() -> &'static Trace {
    static TRACE: OnceLock<Trace> = OnceLock::new();
    TRACE.get_or_init(|| {
        let place = crate::support::build::scratch().join("example");
        std::fs::create_dir_all(&place).unwrap();
        Host::program(python())
            .arg(repository().join("examples/serve.py"))
            .env("SERVE_BUILD", place.to_str().unwrap())
            .trace()
    })
}

#[test]
fn the_planted_leak_heads_the_report_with_its_true_byte_count() {
    let trace = example();
    trace.assert_host_ends_with(0);
    let truth = number_after(&trace.traced.stdout, "leaked").unwrap();
    let stacks = folded(&trace.path(), "unfreed");
    let leak = |frames: &[String]| frames.iter().any(|frame| is_frame(frame, "normalize_request"));
    let found: u64 = stacks.iter().filter(|(frames, _)| leak(frames)).map(|(_, bytes)| bytes).sum();
    println!("leaked in truth {truth} bytes, in the trace {found} bytes");
    assert!(found.abs_diff(truth) * 100 <= truth, "{found} bytes in the trace, {truth} in truth");
    let heaviest = stacks.iter().max_by_key(|(_, bytes)| bytes).unwrap();
    assert!(leak(&heaviest.0), "the heaviest stack is {heaviest:?}");
}

/// The true rate is what the program says it leaked, by the requests that it says it answered.
#[test]
fn the_verdict_is_a_leak_at_the_line_that_leaks_with_its_true_rate() {
    let trace = example();
    let report = analyze(&[], &trace.path());
    println!("{report}");
    assert!(report.starts_with("LEAK: "), "{report}");
    assert!(trace.directory.join("trace.html").is_file(), "{:?}", trace.files());
    let json = analyze(&["--json", "--no-page"], &trace.path());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let suspect = &json["suspects"][0];
    assert_eq!(suspect["your_line"]["function"], "handle_request", "{report}");
    let leaked = number_after(&trace.traced.stdout, "leaked").unwrap() as f64;
    let requests = number_after(&trace.traced.stdout, "answered").unwrap() as f64;
    let counted = json["requests"]["count"].as_f64().unwrap_or(0.0);
    assert!((counted / requests - 1.0).abs() < 0.05, "{counted} of {requests}: {report}");
    let rate = suspect["bytes_per_request"]["estimate"].as_f64().unwrap();
    assert!((rate / (leaked / requests) - 1.0).abs() < 0.1, "{rate} {leaked} {requests}");
}

/// What the first requests leave, and what CPython's free lists pass on, makes no false cause.
#[test]
fn kept_results_are_no_retracing_and_the_list_that_keeps_them_is_named() {
    let program = repository().join("tests/programs/kept_results.py");
    let trace = Host::program(python()).arg(program).trace();
    trace.assert_host_ends_with(0);
    let report = analyze(&["--json", "--no-page"], &trace.path());
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["verdict"], "leak", "{}", report["sentence"]);
    let suspects = report["suspects"].as_array().unwrap();
    let patterns = suspects.iter().flat_map(|suspect| suspect["patterns"].as_array().unwrap());
    let ids: Vec<&str> = patterns.clone().map(|pattern| pattern["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"results-kept") && !ids.contains(&"tf-function-retracing"), "{ids:?}");
    let keeps = "a list that grows at ";
    let action = report["action"].as_str().unwrap().replace("a list or dict", "a list");
    let named =
        action.split_once(keeps).map(|(_, rest)| rest.contains("kept_results.py:20 (remember)"));
    assert_eq!(named, Some(true), "{action}");
}

#[test]
fn live_bytes_agree_with_the_allocator_s_own_figure() {
    let info = analyze(&["info"], &example().path());
    println!("{info}");
    let line = info.lines().find(|line| line.contains("glibc itself says")).expect(&info);
    let (_, difference) = line.split_once("difference ").expect(line);
    let percent = difference.split_whitespace().next().unwrap();
    let percent: f64 = percent.trim_start_matches(['+', '-', '−']).parse().expect(line);
    assert!(percent <= 2.0, "{line}");
}

const PREDICT: &str = "
import numpy, keras
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, activation='relu'), keras.layers.Dense(4)])
for _ in range(50):
    model.predict(numpy.zeros((32, 64), numpy.float32), verbose=0)
print('done')
";

#[test]
fn stacks_are_the_same_by_every_way_of_unwinding() {
    let trace = Host::program(python())
        .arg("-c")
        .arg(PREDICT)
        .env("TF_CPP_MIN_LOG_LEVEL", "3")
        .env("CUDA_VISIBLE_DEVICES", "-1")
        .env("TFTRACE_CHECK_UNWIND", "100")
        .trace();
    trace.assert_host_ends_with(0);
    let info = analyze(&["info"], &trace.path());
    let line = info.lines().find(|line| line.contains("unwinding")).expect(&info);
    println!("{line}");
    let checked = number_after(line, "unwinding").expect(line);
    let agree = |words: &str| number_after(line, words).expect(line);
    assert!(checked >= 10_000, "{line}");
    assert_eq!(agree("incremental and full agree in"), checked, "{line}");
    assert!(agree("same as backtrace crate in") * 1000 >= checked * 999, "{line}");
}

/// Python functions keep their names while code objects die and others take their addresses, and
/// the interpreter shuts down with threads in it. By hand: `serving_soak.py 600`.
#[test]
fn a_service_whose_code_comes_and_goes_is_unharmed_and_named_exactly() {
    let program = repository().join("tests/programs/serving_soak.py");
    // How often it does what depends on its speed: there is no plain run to compare with.
    let trace = Host::program(python()).arg(program).arg("15").trace();
    assert_eq!(trace.traced.code(), 0, "{trace:?}");
    let expected: BTreeMap<String, u64> = trace
        .traced
        .stdout
        .lines()
        .map(|line| {
            let cells: Vec<&str> = line.split(' ').collect();
            let [name, line, bytes] = cells[..] else { panic!("{line:?}") };
            (format!("{name} ({name}.py:{line})"), bytes.parse().unwrap())
        })
        .collect();
    assert!(expected.len() > 20, "{expected:?}");
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for (mut frames, bytes) in
        folded_of(&trace.path(), &["--domain", "malloc", "--frames", "python"])
    {
        let leaf = frames.pop().unwrap();
        if leaf.starts_with("made_") {
            *found.entry(leaf).or_default() += bytes;
        }
    }
    assert_eq!(found, expected);
    let info = analyze(&["info"], &trace.path());
    assert!(info.contains("unmatched frees: 0") && info.contains("replaced blocks: 0"), "{info}");
    assert!(info.contains("nothing lost"), "{info}");
}
