//! Python services with workers: forked by hand as gunicorn does, and in the three ways of multiprocessing.

use crate::support::Host;
use crate::support::build::{have, repository};
use crate::support::trace::counts;

#[test]
fn workers_in_every_way_of_pythons_have_traces_of_their_own() {
    if !have("python3") {
        return;
    }
    let program = repository().join("tests/programs/workers.py");
    for how in ["prefork", "fork", "spawn", "forkserver"] {
        let trace = Host::program("python3").arg(&program).arg(how).trace();
        trace.assert_host_unharmed();
        let files = trace.files();
        let traces: Vec<_> = files.iter().map(|name| trace.directory.join(name)).collect();
        let sum = |size| traces.iter().map(|it| counts(it, size).allocations).sum::<u64>();
        assert_eq!((sum(10_001), sum(10_003)), (20, 60), "{how}: {files:?}");
    }
}
