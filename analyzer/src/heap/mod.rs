//! The live heap, rebuilt from events.

mod live;
mod measure;
mod purpose;
mod ranges;
mod replay;
mod resident;
mod sampling;
mod totals;
mod unfreed;
mod weights;

pub use live::{Anomalies, Block, Change, LiveHeap};
pub use measure::{HOST, Measured, measure};
pub use purpose::{Purpose, Purposes};
pub use ranges::{Range, RangeKind, RangeMap};
pub use replay::{AtReading, EventCounts, Peak, Replay, replay};
pub use resident::Resident;
pub use sampling::Sampling;
pub use totals::{Level, StackTotals, TotalsKey};
pub use unfreed::Unfreed;
pub use weights::{Weights, weigh};
