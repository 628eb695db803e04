//! Requests where nothing marks them and there is no Python: calls of TensorFlow's own entry points.

use serde_json::Value;

use crate::support::Host;
use crate::support::build::{compile, repository};
use crate::support::trace::analyze;

#[test]
fn runs_of_a_session_in_a_server_without_python_are_its_requests() {
    let versions = repository().join("tests/programs/tensorflow_c.map");
    let versions = format!("-Wl,--version-script={}", versions.display());
    let library = compile("tensorflow_c.c", &["-shared", "-fPIC", &versions]);
    let server = compile("session_runs.c", &[library.to_str().unwrap()]);
    let trace = Host::program(server).arg("600").trace();
    trace.assert_host_unharmed();
    let report = analyze(&["--json", "--no-page"], &trace.path());
    let report: Value = serde_json::from_str(&report).unwrap();
    let requests = &report["requests"];
    assert_eq!(requests["count"], 2400, "{requests}");
    assert_eq!(requests["source"], "runs of TensorFlow sessions (TF_SessionRun)");
    assert_eq!(report["verdict"], "leak", "{}", report["sentence"]);
    let each = report["suspects"][0]["bytes_per_request"]["estimate"].as_f64().unwrap();
    assert!((4900.0..5100.0).contains(&each), "{each}");
}
