//! CUDA's memory, on libraries that the tests build: host memory behind the interface of CUDA's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::Host;
use crate::support::build::{must_succeed, repository, scratch};
use crate::support::trace::{Counts, Trace, analyze, folded_of};

/// The directory with `libcuda.so.1`, `libcudart.so.12`, and the programs that use them.
fn built() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = scratch().join("cuda").join(std::process::id().to_string());
        std::fs::create_dir_all(&place).unwrap();
        let sources = repository().join("tests/programs/cuda");
        let library = |name: &str, source: &str, more: &[&str]| {
            must_succeed(
                Command::new("cc")
                    .args(["-shared", "-fPIC", "-O1", "-g", "-w", "-pthread", "-Wl,-Bsymbolic"])
                    .arg(format!("-Wl,-soname,{name}"))
                    .args(more)
                    .arg("-o")
                    .arg(place.join(name))
                    .arg(sources.join(source))
                    .arg("-ldl"),
            );
        };
        library("libcuda.so.1", "fake_libcuda.c", &[]);
        let versions = format!("-Wl,--version-script,{}/fake_libcudart.map", sources.display());
        library("libcudart.so.12", "fake_libcudart.c", &[&versions]);
        library("quota.so", "quota.c", &[]);
        for name in ["roads", "contexts", "out_of_memory", "absent"] {
            let mut compiler = Command::new("cc");
            compiler
                .args([
                    "-O1",
                    "-g",
                    "-pthread",
                    "-fno-builtin",
                    "-fno-optimize-sibling-calls",
                    "-o",
                ])
                .arg(place.join(name))
                .arg(sources.join(format!("{name}.c")));
            if name != "absent" {
                compiler.args(["libcudart.so.12", "libcuda.so.1"].map(|name| place.join(name)));
            }
            must_succeed(compiler.arg("-ldl"));
        }
        place
    })
}

fn host(program: &str) -> Host {
    let place = built();
    Host::program(place.join(program)).env("LD_LIBRARY_PATH", &place.display().to_string())
}

/// The counts of every size in a domain.
fn sizes(trace: &Trace, domain: &str) -> HashMap<u64, Counts> {
    let text = analyze(&["sizes", "--domain", domain], &trace.path());
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<u64> = line.split_whitespace().map_while(|cell| cell.parse().ok()).collect();
        let [size, allocations, frees] = cells[..] else { return None };
        Some((size, Counts { allocations, frees }))
    });
    rows.collect()
}

/// Unfreed bytes by what the leaf of the stack says.
fn unfreed(trace: &Trace, domain: &str) -> HashMap<String, u64> {
    let mut bytes = HashMap::new();
    for (frames, more) in folded_of(&trace.path(), &["--domain", domain]) {
        *bytes.entry(frames.last().unwrap().clone()).or_default() += more;
    }
    bytes
}

/// What the fake driver says is in use, last: device 0, device 1, the host.
fn in_use(trace: &Trace) -> [u64; 3] {
    let line = trace.traced.stdout.lines().find(|line| line.starts_with("device 0:")).unwrap();
    let mut numbers =
        line.split(", ").map(|part| part.rsplit(' ').next().unwrap().parse().unwrap());
    [(); 3].map(|()| numbers.next().unwrap())
}

fn assert_reconciles(trace: &Trace) {
    let [first, second, host] = in_use(trace);
    let devices = unfreed(trace, "cuda");
    let of = |name: &str| devices.get(name).copied().unwrap_or(0);
    assert_eq!([of("[device 0]"), of("[device 1]")], [first, second], "{devices:?}");
    let hosts = unfreed(trace, "cuda-host");
    assert_eq!(hosts.values().sum::<u64>(), host, "{hosts:?}");
}

const DRIVER: [u64; 9] = [10_001, 7168, 10_003, 10_004, 10_005, 10_006, 10_007, 24_000, 6000];
const RUNTIME: [u64; 10] =
    [20_001, 9216, 15_360, 20_004, 20_005, 20_006, 20_007, 20_008, 2200, 3200];

/// Also that a free that fails is none, and that managed memory is freed as a device's is.
#[test]
fn every_function_on_every_road_is_one_event() {
    for road in ["linked", "dlsym", "dlvsym", "address", "address2", "entry", "entry_by_version"] {
        let has_runtime = matches!(road, "linked" | "dlsym" | "dlvsym");
        let trace = host("roads").arg(road).trace();
        trace.assert_host_unharmed();
        let each = Counts { allocations: 8 * 51, frees: 8 * 50 };
        let pinned = Counts { frees: 8 * 51, ..each };
        let passed_on = Counts { allocations: 4, frees: 4 };
        let physical = [(2 << 20, each), (30_001, passed_on)];
        let runtime = RUNTIME.iter().filter(|_| has_runtime);
        let expected = DRIVER.iter().chain(runtime).map(|size| (*size, each)).chain(physical);
        assert_eq!(sizes(&trace, "cuda"), expected.collect(), "{road}");
        let driver = [(10_008, each), (10_009, each), (10_010, pinned)];
        let runtime = [(20_009, each), (20_010, each), (20_011, pinned)];
        let runtime = runtime.into_iter().filter(|_| has_runtime);
        assert_eq!(
            sizes(&trace, "cuda-host"),
            driver.into_iter().chain(runtime).collect(),
            "{road}"
        );
        let hosts = unfreed(&trace, "cuda-host");
        let managed = 8 * (10_003 + if has_runtime { 20_004 } else { 0 });
        assert_eq!(hosts.get("[managed]"), Some(&managed), "{road}: {hosts:?}");
        assert_eq!(hosts.get("[registered]"), None, "{road}: {hosts:?}");
        assert_reconciles(&trace);
    }
}

#[test]
fn memory_ends_with_its_context_and_not_with_another() {
    let trace = host("contexts").trace();
    trace.assert_host_unharmed();
    assert_reconciles(&trace);
    let cuda = sizes(&trace, "cuda");
    let all = |size: u64| cuda.get(&size).copied().unwrap_or_default();
    for size in [10_001, 10_003, 10_004] {
        assert_eq!(all(size), Counts { allocations: 20, frees: 20 }, "{size}");
    }
    assert_eq!(all(10_005), Counts { allocations: 1, frees: 0 }, "its context lives");
    for size in [10_006, 10_007] {
        assert_eq!(all(size), Counts { allocations: 1, frees: 1 }, "{size}");
    }
    assert_eq!(all(10_008), Counts { allocations: 2, frees: 1 }, "before and after the reset");
}

/// A library that is preloaded behind the tracer is not passed over.
#[test]
fn another_library_that_interposes_cuda_still_does() {
    let trace = host("contexts").preload(&built().join("quota.so")).trace();
    trace.assert_host_unharmed();
    assert!(trace.traced.stdout.contains("passed 45\n"), "{trace:?}");
    assert_reconciles(&trace);
    assert_eq!(sizes(&trace, "cuda")[&10_001], Counts { allocations: 20, frees: 20 });
}

/// The report says what held the device, and when memory ran out it is the last failure that counts.
#[test]
fn an_allocation_that_fails_is_reported_with_who_held_the_device() {
    let trace = host("out_of_memory").env("FAKE_CUDA_BYTES", "10000000").trace();
    trace.assert_host_unharmed();
    let info = analyze(&["info"], &trace.path());
    assert!(info.contains("2 failed allocations"), "{info}");
    let report = analyze(&["--no-page"], &trace.path());
    let card =
        report.split("out of memory on device 0: ").nth(1).unwrap_or_else(|| panic!("{report}"));
    let lines: Vec<&str> = card.lines().map(str::trim).collect();
    assert!(lines[0].starts_with("4.0 MB were asked for"), "{report}");
    assert!(
        lines[0].contains("with 9.0 MB in use of 9.0 MB taken; the last of 2 that failed"),
        "{report}"
    );
    assert!(lines[1].contains("main (") && lines[1].contains("out_of_memory.c:"), "{report}");
    assert!(lines[3].starts_with("6.0 MB in 1 block  weights ("), "{report}");
    assert!(lines[4].starts_with("3.0 MB in 1 block  activations ("), "{report}");
    assert!(sizes(&trace, "cuda").keys().all(|size| [6_000_001, 3_000_001].contains(size)));
}

/// `dlsym` says the same without CUDA as without the tracer, and nobody loads CUDA.
#[test]
fn a_process_without_cuda_is_told_that_there_is_none() {
    let trace = host("absent").trace();
    trace.assert_host_unharmed();
    assert_eq!(trace.traced.stdout.matches("found").count(), 1, "only libm's; {trace:?}");
    assert!(sizes(&trace, "cuda").is_empty());
}

/// The loader binds a weak reference to us: it cannot be told that nobody has the function. Calling
/// it gives CUDA's own error for that.
#[test]
fn a_weak_reference_leads_to_an_error_of_cuda_s() {
    let trace = host("absent").arg("weak").trace();
    assert_eq!(trace.plain.stderr, "weak -1\n");
    assert_eq!(trace.traced.stderr, "weak 500\n");
    assert_eq!(trace.traced.stdout, trace.plain.stdout);
}
