//! Tensors: whose op, which Python line, and in which pool.

use crate::support::Host;
use crate::support::build::repository;
use crate::support::trace::{Trace, analyze, folded_of};
use crate::tensorflow::python;

fn run(program: &str, argument: &str, onednn: &str) -> Trace {
    let trace = Host::program(python())
        .arg(repository().join("tests/programs").join(program))
        .arg(argument)
        .env("TF_ENABLE_ONEDNN_OPTS", onednn)
        .trace();
    trace.assert_host_ends_with(0);
    assert!(trace.traced.stdout.contains("done"), "{trace:?}");
    trace
}

/// With TensorFlow's plain allocator, and with the one that has a pool for large tensors.
#[test]
fn a_kept_tensor_is_one_block_with_its_op_and_its_python_line() {
    for onednn in ["0", "1"] {
        let trace = run("kept_tensor.py", "", onednn);
        let stacks = folded_of(&trace.path(), &["--domain", "tensorflow"]);
        let large: Vec<_> = stacks.iter().filter(|(_, bytes)| *bytes >= 1_000_000).collect();
        let [(frames, bytes)] = &large[..] else { panic!("oneDNN {onednn}: {large:#?}") };
        assert_eq!(*bytes, 4_000_000, "{frames:?}");
        assert_eq!(frames.last().unwrap(), "op Mul (output, float32)", "{frames:?}");
        assert!(frames.iter().any(|it| it == "keep (kept_tensor.py:17)"), "{frames:?}");
        let others = folded_of(&trace.path(), &["--domain", "malloc", "--show-all"]);
        let region = |frames: &[String]| frames.iter().any(|it| it.contains("BFCAllocator"));
        let counted_twice = others.iter().find(|(it, bytes)| region(it) && *bytes >= 1_000_000);
        assert_eq!(counted_twice, None, "oneDNN {onednn}");
        let report = analyze(&["sites", "--no-svg"], &trace.path());
        assert_eq!(report.contains("pools of tensorflow"), onednn == "1", "{report}");
    }
}

/// What share of a phase's tensor bytes has a Python line of the program's, and an op.
fn shares(phase: &str) -> (u64, f64, f64, f64) {
    let trace = run("tensor_phases.py", phase, "0");
    let stacks = folded_of(&trace.path(), &["--domain", "tensorflow", "--metric", "allocated"]);
    let (mut all, mut lines, mut ops, mut both) = (0, 0, 0, 0);
    for (frames, bytes) in stacks {
        let line = frames.iter().any(|it| it.contains("(tensor_phases.py:"));
        let op = frames.last().is_some_and(|leaf| leaf.starts_with("op "));
        // An array that is made a tensor of is copied or not, as its address happens to be; no op does that.
        if !op && frames.iter().any(|it| it.starts_with("convert_to_eager_tensor")) {
            continue;
        }
        all += bytes;
        lines += if line { bytes } else { 0 };
        ops += if op { bytes } else { 0 };
        both += if line && op { bytes } else { 0 };
    }
    let share = |part: u64| 100.0 * part as f64 / all as f64;
    (all, share(lines), share(ops), share(both))
}

#[test]
fn tensors_have_a_python_line_and_an_op_in_every_way_of_calling() {
    println!("tensor bytes          all   Python line      op    both");
    let mut missed = Vec::new();
    for (phase, least) in [
        ("eager", 95.0),
        ("tf_function", 95.0),
        ("saved_model", 95.0),
        ("keras_call", 95.0),
        ("keras_predict", 90.0),
        ("keras_fit", 90.0),
    ] {
        let (all, lines, ops, both) = shares(phase);
        let megabytes = all as f64 / 1e6;
        println!("{phase:<14} {megabytes:>7.1} MB   {lines:>9.1} %  {ops:>5.1} %  {both:>5.1} %");
        if both < least {
            missed.push((phase, both));
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}
