//! `TFTRACE_MAX_BYTES`: the file stays below its bound, and what is in it stays exact.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::Host;
use crate::support::build::{compile, tools};
use crate::support::host::clean_environment;
use crate::support::trace::{analyze, sizes};

const BOUND: u64 = 16 << 20;
const SIZES: usize = 8;

/// `bounded.c` under the tracer, in a directory of its own.
struct Bounded {
    child: Child,
    directory: tempfile::TempDir,
}

impl Bounded {
    fn start(pairs: u64, bound: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(compile("bounded.c", &[]));
        clean_environment(&mut command);
        command.arg(pairs.to_string()).current_dir(directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.env("LD_PRELOAD", &tools().library).env("TFTRACE_MAX_BYTES", bound);
        Self { child: command.spawn().unwrap(), directory }
    }

    fn trace(&self) -> std::path::PathBuf {
        self.directory.path().join("trace.bin")
    }

    /// Whether the file was compacted: counter 13 of its page of counters is not zero.
    fn is_compacted(&self) -> bool {
        let mut word = [0; 8];
        let file = std::fs::File::open(self.trace());
        file.is_ok_and(|file| file.read_exact_at(&mut word, 32_768 + 64 + 13 * 8).is_ok())
            && word != [0; 8]
    }

    /// The program's own counts by size: allocations begun and done, frees begun and done.
    fn counts(&self) -> [[u64; 4]; SIZES] {
        let bytes = std::fs::read(self.directory.path().join("counts.bin")).unwrap();
        let word = |at: usize| u64::from_le_bytes(bytes[at * 8..][..8].try_into().unwrap());
        std::array::from_fn(|size| std::array::from_fn(|count| word(size * 4 + count)))
    }

    /// Compares the trace with what the program did; `unsure` events of a size may be half done.
    #[track_caller]
    fn assert_counts(&self, unsure: u64) {
        let seen = sizes(&self.trace());
        for (at, [begun, done, freeing, freed]) in self.counts().into_iter().enumerate() {
            let size = 1001 + 10 * at as u64;
            let counts = seen.get(&size).copied().unwrap_or_default();
            let allocated = done.saturating_sub(unsure)..=begun;
            assert!(allocated.contains(&counts.allocations), "{size}: {counts:?} {allocated:?}");
            let freed = freed.saturating_sub(unsure)..=freeing;
            assert!(freed.contains(&counts.frees), "{size}: {counts:?}, {freed:?}");
        }
    }
}

fn blocks_on_disk(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |file| file.blocks() * 512)
}

#[test]
fn two_hundred_megabytes_of_events_stay_below_sixteen() {
    let mut host = Bounded::start(2_200_000, "16MiB");
    let mut most = 0;
    let status = loop {
        most = most.max(blocks_on_disk(&host.trace()));
        match host.child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    assert!(status.success(), "{status}");
    host.assert_counts(0);
    assert!(most <= BOUND, "{most} bytes on disk");
    let info = analyze(&["info"], &host.trace());
    for fact in ["compacted: ", "unmatched frees: 0 ", "replaced blocks: 0 ", "nothing lost"] {
        assert!(info.contains(fact), "{fact} is not in\n{info}");
    }
}

/// Every event is in the trace exactly once, also while it is written anew.
#[test]
fn a_kill_at_any_moment_leaves_every_event_once() {
    let mut random = 12345u64;
    let mut compacted = 0;
    for run in 0..12 {
        let mut host = Bounded::start(100_000_000, "8MiB");
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Some die before the first compaction, the others from then on.
        let patience = Instant::now() + Duration::from_secs(120);
        while run % 4 != 0 && !host.is_compacted() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros((random >> 33) % 500_000));
        host.child.kill().unwrap();
        host.child.wait().unwrap();
        // What folds in the open page is lost if the kill comes in between: one for each thread.
        host.assert_counts(2);
        let info = analyze(&["info"], &host.trace());
        for fact in ["replaced blocks: 0 ", "nothing lost"] {
            assert!(info.contains(fact), "{fact} is not in\n{info}");
        }
        compacted += usize::from(info.contains("compacted: "));
    }
    assert!(compacted >= 9, "{compacted}: the kills came too early to mean much");
}

/// Without a second thread nothing compacts the file: it keeps its bound, and says what it lacks.
#[test]
fn a_host_with_one_thread_keeps_the_bound_and_counts_what_is_lost() {
    let trace = Host::c("realloc_moves.c").arg("400000").env("TFTRACE_MAX_BYTES", "8MiB").trace();
    trace.assert_host_unharmed();
    assert!(blocks_on_disk(&trace.path()) <= 8 << 20);
    let info = analyze(&["info"], &trace.path());
    assert!(info.contains("the trace file could not grow"), "{info}");
}
