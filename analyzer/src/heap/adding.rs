//! Adds up what was paired, event by event: the live heap, what is said of the trace, and who watches.
//!
//! Never waits and never reads the trace's events: they are handed to it.

use std::iter::Peekable;
use std::sync::Arc;

use tftrace_format::reader::Trace;
use tftrace_format::{Event, Ticks};

use super::live::LiveHeap;
use super::live_blocks::LiveBlocks;
use super::pairing::{AHEAD, Batch, Step, beginnings};
use super::purpose::Purposes;
use super::replay::{Replay, Watcher};
use super::sampling::Sampling;
use super::unfreed::Unfreed;

/// The sums so far, and who is shown how they change.
pub(super) struct Adding<'t, W> {
    trace: &'t Trace<'t>,
    replay: Replay,
    watcher: W,
    /// The allocator's last figure, if it was not reached.
    reading: Option<(Ticks, u64)>,
    /// When recording begins, from now on.
    beginnings: Peekable<std::vec::IntoIter<Ticks>>,
}

impl<'t, W: Watcher> Adding<'t, W> {
    pub(super) fn new(trace: &'t Trace<'_>, purposes: Arc<Purposes>, watcher: W) -> Self {
        let reading = trace.readings().iter().rfind(|reading| reading.malloc_known);
        let mut reading = reading.map(|reading| (Ticks(reading.time), reading.malloc_in_use));
        // Blocks that were not recorded are in the allocator's figure.
        reading.take_if(|_| !trace.recordings().is_empty());
        let heap = LiveHeap::new(purposes, Sampling::of(trace));
        let replay = Replay { heap, ..Replay::default() };
        Self { trace, replay, watcher, reading, beginnings: beginnings(trace) }
    }

    pub(super) fn add(&mut self, batch: &Batch) {
        for steps in batch.steps.chunks(AHEAD) {
            // The last few of all are not worth it.
            if let Some(steps) = steps.first_chunk() {
                self.replay.heap.look_at(steps);
            }
            for step in steps {
                self.step(step, &batch.meant);
            }
        }
    }

    fn step(&mut self, step: &Step, meant: &[Step]) {
        let time = step.event.time();
        if let Some((_, in_use)) = self.reading.take_if(|(at, _)| time > *at) {
            self.replay.look_at(in_use);
        }
        while self.beginnings.next_if(|at| time > *at).is_some() {
            self.replay.heap.begin_anew();
        }
        self.watcher.before(&mut self.replay.heap, step.thread, &step.event);
        if let Event::ContextEnded { .. } = step.event {
            for free in meant {
                self.replay.step(free, &mut self.watcher);
            }
        }
        self.replay.step(step, &mut self.watcher);
    }

    pub(super) fn shuts_down(&mut self, blocks: &LiveBlocks) {
        let Self { trace, replay, watcher, .. } = self;
        replay.at_shut_down = Some(Unfreed::of(&replay.heap, trace.shut_down()));
        watcher.shuts_down(&mut replay.heap, blocks, replay.last.unwrap_or(Ticks(0)));
    }

    /// What is left behind, with the blocks that are live after the last event.
    pub(super) fn end(mut self, blocks: LiveBlocks) -> Replay {
        if let Some((_, in_use)) = self.reading {
            self.replay.look_at(in_use);
        }
        Replay { blocks, ..self.replay }
    }
}
