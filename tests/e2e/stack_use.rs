//! How much of the host's stack a hook takes: a thread may have 16 KiB, and has used half of it.

use std::collections::HashMap;

use crate::python::interpreters;
use crate::support::Host;
use crate::support::build::{compile, repository};

/// More than the real function takes; measured, in bytes: at most 848 on x86-64.
const BUDGET: i64 = 4096;

/// The program prints "WHEN FUNCTION BYTES" for each measurement; the largest count.
fn uses(text: &str) -> HashMap<String, i64> {
    let mut uses: HashMap<String, i64> = HashMap::new();
    for line in text.lines() {
        let (what, bytes) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let largest = uses.entry(what.to_owned()).or_default();
        *largest = (*largest).max(bytes.parse().unwrap());
    }
    uses
}

#[test]
fn a_hook_takes_less_than_4_kib_of_the_hosts_stack_cold_and_warm() {
    // Bound at the start: else the first call of each function is the loader's, which takes more.
    let trace = Host::program(compile("stack_use.c", &["-Wl,-z,now"])).trace();
    trace.assert_host_ends_with(0);
    let (plain, traced) = (uses(&trace.plain.stderr), uses(&trace.traced.stderr));
    assert_eq!(plain.len(), 3 * 8, "{plain:?}");
    for (what, bytes) in &traced {
        let more = bytes - plain[what];
        println!("{what}: {more} bytes more than without the tracer");
        assert!(
            more < BUDGET,
            "{what}: {bytes} bytes of stack, {} without the tracer",
            plain[what]
        );
    }
}

/// The walk through Python's frames is on the host's stack as well.
#[test]
fn a_hook_under_python_functions_takes_less_than_4_kib_of_the_hosts_stack() {
    let library = compile("python_stack_use.c", &["-shared", "-fPIC", "-Wl,-z,now"]);
    let program = repository().join("tests/programs/python_stack_use.py");
    for python in interpreters() {
        let trace = Host::program(&python).arg(&program).arg(&library).trace();
        trace.assert_host_ends_with(0);
        let (plain, traced) = (uses(&trace.plain.stderr), uses(&trace.traced.stderr));
        assert_eq!(plain.len(), 5 * 7, "{plain:?}");
        let more = |what: &String| traced[what] - plain[what];
        let most = plain.keys().max_by_key(|what| more(what)).unwrap();
        println!("{}: {} bytes more, in {most}", python.display(), more(most));
        assert!(more(most) < BUDGET, "{most}: {plain:?} without, {traced:?} with the tracer");
    }
}
