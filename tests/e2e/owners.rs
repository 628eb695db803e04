//! Where the memory is: every owner has what the program gave it, and the lines add up.

use serde_json::Value;

use crate::support::Host;
use crate::support::build::{compile, tools};
use crate::support::host::{clean_environment, finish};
use crate::support::trace::analyze;

const MIB: f64 = 1024.0 * 1024.0;

/// What of the whole may be nobody's.
const MOST_UNEXPLAINED: f64 = 0.02;

/// As in a container: the drain has descriptors of its own all the same, and with them its figures.
#[test]
fn where_unshare_is_refused_the_memory_is_read_too() {
    let (wrapper, program) = (compile("contained.c", &[]), compile("owners.c", &[]));
    let place = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(wrapper);
    command.arg(&tools().library).arg(&program);
    clean_environment(&mut command);
    let outcome = finish(command.current_dir(place.path()));
    assert_eq!((outcome.code(), outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    let report: Value =
        serde_json::from_str(&analyze(&["--json", "--no-page"], &place.path().join("trace.bin")))
            .unwrap();
    let found = &report["reconciliation"];
    let stacks = found["owners"].as_array().unwrap().iter().find(|owner| {
        owner["name"].as_str().is_some_and(|name| name.starts_with("stacks of threads"))
    });
    let bytes = stacks.and_then(|owner| owner["bytes"].as_f64());
    assert!(bytes.is_some_and(|bytes| bytes >= 8.0 * 0.99 * MIB), "{found}");
}

/// Most of its mappings are one to the kernel, in an order that differs from run to run.
#[test]
fn every_owner_has_what_the_program_gave_it_and_the_lines_add_up() {
    let trace = Host::c("owners.c").trace();
    trace.assert_host_unharmed();
    let report: Value =
        serde_json::from_str(&analyze(&["--json", "--no-page"], &trace.path())).unwrap();
    let found = &report["reconciliation"];
    let owners = found["owners"].as_array().unwrap();
    let of = |name: &str| {
        let mine = owners.iter().filter(|owner| owner["name"].as_str().unwrap().starts_with(name));
        mine.map(|owner| owner["bytes"].as_u64().unwrap()).sum::<u64>() as f64
    };
    let number = |key: &str| found[key].as_u64().unwrap();
    for (name, expected, most_more) in [
        ("stacks of threads", 8.0 * MIB, 0.4 * MIB),
        ("private pages of libraries and files", 4.0 * MIB, 0.6 * MIB),
        ("live blocks: mmap", 12.0 * MIB, 0.1 * MIB),
        ("live blocks: malloc", 2000.0 * 10_001.0 + 16.0 * MIB, 0.4 * MIB),
    ] {
        let bytes = of(name);
        assert!(
            bytes >= 0.99 * expected && bytes <= expected + most_more,
            "{name}: {bytes}; {found}"
        );
    }
    let not_resident = number("not_resident") as f64;
    assert!((263.0 * MIB..265.0 * MIB).contains(&not_resident), "{found}");
    let whole = number("rss_anonymous");
    let sum: u64 = owners.iter().map(|owner| owner["bytes"].as_u64().unwrap()).sum();
    assert_eq!(sum + number("unexplained"), whole, "{found}");
    assert!(number("unexplained") as f64 <= MOST_UNEXPLAINED * whole as f64, "{found}");
    assert!(of("tftrace itself") > 0.0, "{found}");
}
