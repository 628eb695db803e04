//! Memory over time, in windows.

use serde::Serialize;
use tftrace_format::Domain;

/// One entry in each list for every window.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TimeLine {
    /// When each window ends, in seconds since the trace began.
    pub seconds: Vec<f64>,
    /// Requests before each window's end; empty if none are counted.
    pub requests: Vec<f64>,
    /// Live bytes by domain, pools not counted beside what is in them.
    pub domains: Vec<Series>,
    /// What the kernel counted: anonymous resident memory; `null` where nothing was read.
    pub rss_anonymous: Vec<Option<u64>>,
    /// All resident memory.
    pub rss: Vec<Option<u64>>,
    /// The memory limit of the control group, in bytes.
    pub limit: Option<u64>,
    /// When warm-up ended; `null` if it did not.
    pub warm_up_seconds: Option<f64>,
    /// How many requests warm-up took.
    pub warm_up_requests: Option<f64>,
}

impl TimeLine {
    /// Live bytes of the host's memory at the end of each window; a device has its own.
    pub fn live(&self) -> Vec<u64> {
        let host = || self.domains.iter().filter(|series| series.name != Domain::Cuda.name());
        let at = |window: usize| host().filter_map(|series| series.bytes.get(window)).sum();
        (0..self.seconds.len()).map(at).collect()
    }
}

/// One line of a chart.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// One value for each window, in bytes.
    pub bytes: Vec<u64>,
}
