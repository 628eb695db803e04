//! The live heap, rebuilt from events.

mod live;
mod measure;
mod ranges;
mod replay;
mod totals;

pub use live::{Anomalies, Block, Change, LiveHeap};
pub use measure::{HOST, Measured, measure};
pub use ranges::{Range, RangeMap};
pub use replay::{AtReading, EventCounts, Peak, Replay, replay};
pub use totals::{Level, StackTotals, TotalsKey};
