//! Deaths: every event that happened before is in the trace, and the host dies as it would.

use std::path::Path;
use std::process::Command;

use crate::support::Host;
use crate::support::build::{compile, tools};
use crate::support::host::{clean_environment, finish};
use crate::support::trace::{counts, sizes};

#[test]
fn no_event_is_lost_however_the_process_ends() {
    let ways = [
        ("exit", 0),
        ("_exit", 0),
        ("quick_exit", 0),
        ("exit_group", 0),
        ("thread", 0),
        ("main_ends", 0),
        ("exec", 0),
        ("abort", -6),
        ("sigkill", -9),
        ("sigterm", -15),
        ("sigsegv", -11),
        ("overflow", -11),
    ];
    for (how, code) in ways {
        let trace = Host::c("deaths.c").arg(how).arg("5000").trace();
        trace.assert_host_ends_with(code);
        trace.assert_counts(&[(10_001, 10_000, 0), (10_003, 10_000, 10_000)]);
    }
}

/// A group of processes with a memory limit of its own; gone when dropped.
struct Group(std::path::PathBuf);

impl Group {
    /// `None` where none can be made.
    fn with_limit(bytes: u64) -> Option<Self> {
        let (new, limit, swap) = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            ("/sys/fs/cgroup", "memory.max", "memory.swap.max")
        } else {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
        };
        let _ = std::fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
        let group = Self(Path::new(new).join(format!("tftrace-test-{}", std::process::id())));
        std::fs::create_dir(&group.0).ok()?;
        std::fs::write(group.0.join(limit), bytes.to_string()).ok()?;
        let _ = std::fs::write(group.0.join(swap), "0");
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// How leaks end. The program counts its blocks in a file of its own: the last one may be missing
/// there, because it died between the two.
#[test]
fn the_out_of_memory_killer_loses_no_event() {
    let Some(group) = Group::with_limit(96 << 20) else {
        println!("skipped: no memory limit can be set here");
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let script = "echo $$ > \"$1/cgroup.procs\" && LD_PRELOAD=$2 exec \"$0\" count";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(compile("out_of_memory.c", &[])).arg(&group.0);
    clean_environment(command.arg(&tools().library).current_dir(place.path()));
    let outcome = finish(&mut command);
    assert_eq!(outcome.code(), -9, "{outcome:?}");
    let kept = std::fs::read(place.path().join("count")).unwrap();
    let kept = u64::from_le_bytes(kept[..8].try_into().unwrap());
    let seen = counts(&place.path().join("trace.bin"), 20_001);
    assert!(kept > 1_000, "{kept}");
    assert!([kept, kept + 1].contains(&seen.allocations), "{kept} in its own log, {seen:?}");
    assert_eq!(seen.frees, 0);
}

/// Each thread counts its blocks itself, after the call: what it was just about to count may be missing there.
#[test]
fn sigkill_at_any_moment_loses_no_event() {
    let program = compile("counts_itself.c", &[]);
    // No program of ours: a moment is any number. The same ones in every run.
    let mut moment = 12_345u64;
    for round in 0..20 {
        moment =
            moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = tempfile::tempdir().unwrap();
        let mut command = Command::new(&program);
        clean_environment(command.arg("count").current_dir(place.path()));
        command.env("LD_PRELOAD", &tools().library);
        let mut child = command.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(2_000 + (moment >> 33) % 60_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let own = std::fs::read(place.path().join("count")).unwrap_or_default();
        let trace = place.path().join("trace.bin");
        if own.len() < 4096 || !trace.exists() {
            continue; // Killed before it began.
        }
        let seen = sizes(&trace);
        for number in 0..4 {
            let bytes = own[64 * number..][..8].try_into().unwrap();
            let (logged, size) = (u64::from_le_bytes(bytes), 10_001 + 2 * number as u64);
            let traced = seen.get(&size).copied().unwrap_or_default();
            let expected = [logged, logged + 1];
            assert!(
                expected.contains(&traced.allocations),
                "round {round}, {size}: {logged} in the program's own log, {traced:?} in the trace"
            );
        }
    }
}
