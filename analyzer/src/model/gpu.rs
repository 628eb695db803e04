//! Memory of CUDA's: by device over time, and what held a device when there was not enough of it.

use serde::Serialize;

use super::{Frame, Line};

/// What CUDA gave out.
#[derive(Clone, Debug, Serialize)]
pub struct Gpu {
    /// By number; a device that is not known comes first.
    pub devices: Vec<Device>,
    /// Memory of the host that CUDA holds: `pinned`, `managed`, `registered`. Registered memory is
    /// counted where it was allocated as well.
    pub host: Vec<HostMemory>,
    /// Allocations that failed because there was not enough memory.
    pub failures: u64,
    /// The last of these.
    pub out_of_memory: Option<OutOfMemory>,
}

/// One device. Lists have one entry for each window of the time line.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Device {
    /// CUDA's number; `null` if it is not known.
    pub number: Option<u16>,
    /// What the process had taken from the driver, pools included, when each window ended.
    pub taken: Vec<u64>,
    /// What of it was in use, when each window ended: pools not counted, but what is in them.
    pub used: Vec<u64>,
    /// The most that was taken.
    pub peak_taken: u64,
    /// The most that was in use.
    pub peak_used: u64,
}

/// Memory of the host that CUDA holds.
#[derive(Clone, Debug, Serialize)]
pub struct HostMemory {
    /// `pinned`, `managed` or `registered`.
    pub kind: &'static str,
    /// Live at the end.
    pub bytes: u64,
    /// The most that was live.
    pub peak: u64,
}

/// An allocation that failed, and what held the memory then.
#[derive(Clone, Debug, Serialize)]
pub struct OutOfMemory {
    /// When, in seconds since the trace began.
    pub seconds: f64,
    /// On which device; `null` if it is not known.
    pub device: Option<u16>,
    /// Bytes that were asked for.
    pub asked: u64,
    /// The op that they were for.
    pub op: Option<String>,
    /// The user's line that asked.
    pub your_line: Option<Line>,
    /// Who asked, root first.
    pub stack: Vec<Frame>,
    /// What the process had taken from the driver then.
    pub taken: u64,
    /// What of it was in use.
    pub used: u64,
    /// Who held that, largest first.
    pub holders: Vec<Holder>,
}

/// A line and an op that held memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// The user's line that asked for it.
    pub your_line: Option<Line>,
    /// The op that it was for.
    pub op: Option<String>,
    /// How much.
    pub bytes: u64,
    /// In how many blocks.
    pub blocks: u64,
}
