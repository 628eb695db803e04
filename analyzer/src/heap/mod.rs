//! The live heap, rebuilt from events.

mod adding;
mod block_map;
mod figures;
mod live;
mod live_blocks;
mod measure;
mod pairing;
mod place_table;
mod purpose;
mod ranges;
mod replay;
mod resident;
mod sampling;
mod site_table;
mod totals;
mod unfreed;
mod weights;

pub use block_map::Block;
pub use live::{Anomalies, Change, LiveHeap};
pub use live_blocks::LiveBlocks;
pub use measure::{HOST, Measured, measure};
pub use purpose::{Purpose, Purposes};
pub use ranges::{Range, RangeKind, RangeMap};
pub use replay::{AtReading, EventCounts, Peak, Replay, Watcher, replay, replay_shutting_down};
pub use resident::Resident;
pub use sampling::Sampling;
pub use site_table::{SiteChange, SiteId, SiteTable};
pub use totals::{Level, StackTotals, TotalsKey};
pub use unfreed::Unfreed;
pub use weights::{Weights, weigh};
