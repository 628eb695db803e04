//! Pairs each event with the block whose life it ends, in batches: what runs ahead of the replay.
//!
//! Knows which blocks are live, and never what they add up to: so another thread may do that.

use std::iter::Peekable;
use std::sync::Arc;

use tftrace_format::reader::{Events, Trace};
use tftrace_format::{Event, Ticks};

use super::block_map::Block;
use super::live_blocks::LiveBlocks;
use super::purpose::Purposes;

/// So many events are looked at together before they are applied, one after the other.
pub(super) const AHEAD: usize = 64;
/// And so many are handed on together: much less than a processor's cache.
const BATCH: usize = 1024;

/// An event that was paired.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Step {
    pub(super) event: Event,
    pub(super) thread: u32,
    /// Whether it frees or replaces a block, and which.
    ends: bool,
    block: Block,
}

const _: () = assert!(size_of::<Step>() == 64, "one cache line goes from processor to processor");

impl Step {
    fn new(thread: u32, event: Event) -> Self {
        let block = Block { size: 0, stack: None, born: Ticks(0) };
        Self { event, thread, ends: false, block }
    }

    fn ends(&mut self, block: Option<Block>) {
        self.ends = block.is_some();
        self.block = block.unwrap_or(self.block);
    }

    /// What it frees or replaces.
    pub(super) fn ended(&self) -> Option<Block> {
        self.ends.then_some(self.block)
    }
}

/// Events in order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) steps: Vec<Step>,
    /// The frees that the last step means, if a CUDA context ends with it.
    pub(super) meant: Vec<Step>,
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Paired {
    Batch(Batch),
    /// Python begins to shut down, and this is live. To be given back.
    ShutsDown(Box<LiveBlocks>),
}

/// Events on their way from the trace to the replay.
pub(super) struct Pairing<'e, 'p> {
    events: &'e mut Events<'p>,
    purposes: Arc<Purposes>,
    blocks: LiveBlocks,
    /// Those that were looked at and not paired.
    rest: Vec<Step>,
    /// How many may follow, if not all.
    left: Option<u64>,
    shut_down: Option<Ticks>,
    /// When recording begins, from now on.
    beginnings: Peekable<std::vec::IntoIter<Ticks>>,
}

/// How far events are paired.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until {
    /// So many, if not all.
    pub(super) limit: Option<u64>,
    /// When Python begins to shut down.
    pub(super) shut_down: Option<Ticks>,
}

/// When recording was switched on.
pub(super) fn beginnings(trace: &Trace<'_>) -> Peekable<std::vec::IntoIter<Ticks>> {
    let on = trace.recordings().iter().filter(|(_, on)| *on);
    on.map(|(time, _)| *time).collect::<Vec<_>>().into_iter().peekable()
}

impl<'e, 'p> Pairing<'e, 'p> {
    /// To the end, or the first events.
    pub(super) fn new(
        trace: &Trace<'_>,
        purposes: Arc<Purposes>,
        events: &'e mut Events<'p>,
        until: Until,
    ) -> Self {
        Self {
            events,
            purposes,
            blocks: LiveBlocks::default(),
            rest: Vec::new(),
            left: until.limit,
            shut_down: until.shut_down,
            beginnings: beginnings(trace),
        }
    }

    /// How many pages are yet to be opened: a measure of progress.
    pub(super) fn pages_left(&self) -> usize {
        self.events.pages_left()
    }

    /// What comes next; `None` at the end. `batch` was used up, and is filled again.
    pub(super) fn next(&mut self, mut batch: Batch) -> Option<Paired> {
        batch.steps.clear();
        batch.meant.clear();
        batch.steps.append(&mut self.rest);
        let mut at = 0;
        while at < batch.steps.len() || (at < BATCH && self.read(&mut batch.steps)) {
            if self.left == Some(0) {
                batch.steps.truncate(at);
                break;
            }
            let step = &mut batch.steps[at];
            let time = step.event.time();
            if self.shut_down.is_some_and(|at| time > at) {
                if at == 0 {
                    self.shut_down = None;
                    self.rest = batch.steps;
                    return Some(Paired::ShutsDown(Box::new(std::mem::take(&mut self.blocks))));
                }
                self.rest = batch.steps.split_off(at);
                break;
            }
            while self.beginnings.next_if(|at| time > *at).is_some() {
                self.blocks = LiveBlocks::default();
            }
            at += 1;
            if let Event::ContextEnded { .. } = step.event {
                for free in self.blocks.frees_meant_by(&step.event, &self.purposes) {
                    let mut free = Step::new(step.thread, free);
                    self.pair(&mut free);
                    batch.meant.push(free);
                }
                // It is not counted itself.
                self.rest = batch.steps.split_off(at);
                break;
            }
            if !matches!(step.event, Event::Folded { .. }) {
                self.pair(step);
            }
        }
        (!batch.steps.is_empty()).then_some(Paired::Batch(batch))
    }

    /// Takes back what was lent.
    pub(super) fn give_back(&mut self, blocks: Box<LiveBlocks>) {
        self.blocks = *blocks;
    }

    /// What is live after the last event.
    pub(super) fn end(self) -> LiveBlocks {
        self.blocks
    }

    /// Adds the next events, and looks at what they concern, so that it is in the processor's cache
    /// when they are paired. Whether there are any.
    fn read(&mut self, steps: &mut Vec<Step>) -> bool {
        let before = steps.len();
        let next = self.events.by_ref().take(AHEAD);
        steps.extend(next.map(|(thread, event)| Step::new(thread.number, event)));
        // The last few of all are not worth it.
        if let Some(ahead) = steps[before..].first_chunk() {
            self.blocks.look_at(ahead);
        }
        steps.len() > before
    }

    fn pair(&mut self, step: &mut Step) {
        self.left = self.left.map(|left| left.saturating_sub(1));
        step.ends(self.blocks.apply(&step.event));
    }
}
