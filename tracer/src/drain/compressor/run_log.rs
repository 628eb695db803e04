//! Chunks in runs that only the drain writes, so that a compaction can take their place.

use tftrace_format::Ticks;
use tftrace_format::chunk::{ChunkKind, Codec, framed_len};
use tftrace_format::page::{PAGE_HEADER_BYTES, PageHeader, PageKind};

use crate::spool::chunk_log::{RUN_BYTES, RUN_PAGES, write_chunk};
use crate::spool::{PageIndex, Spool};

/// Runs of one kind, the last one open.
#[derive(Debug)]
pub(super) struct RunLog {
    kind: PageKind,
    /// The serial of all runs; `None`: each has its own.
    serial: Option<u64>,
    runs: Vec<PageIndex>,
    /// Bytes of the last run that are used.
    used: usize,
}

impl RunLog {
    /// No runs yet.
    pub(super) fn new(kind: PageKind, serial: Option<u64>) -> Self {
        Self { kind, serial, runs: Vec::new(), used: RUN_BYTES }
    }

    /// Pages of all runs.
    pub(super) fn pages(&self) -> u64 {
        self.runs.len() as u64 * u64::from(RUN_PAGES)
    }

    pub(super) fn runs(&self) -> &[PageIndex] {
        &self.runs
    }

    /// Appends a chunk, in a run of `emptied` where a new one is needed. `None`: no memory, no disk.
    pub(super) fn append(
        &mut self,
        spool: &Spool,
        emptied: &mut Vec<PageIndex>,
        now: Ticks,
        chunk: Chunk<'_>,
    ) -> Option<()> {
        let wanted = framed_len(chunk.payload.len())?;
        if self.used.checked_add(wanted)? > RUN_BYTES {
            self.runs.try_reserve(1).ok()?;
            self.runs.push(self.take_run(spool, emptied, now)?);
            self.used = PAGE_HEADER_BYTES;
        }
        let run = spool.page(*self.runs.last()?);
        // SAFETY: what is used and the chunk fit into the run.
        let place = unsafe { run.add(self.used) };
        let Chunk { kind, codec, payload, plain_len, serial } = chunk;
        // SAFETY: as above; only this thread writes to the run.
        let written = unsafe { write_chunk(place, kind, (codec, payload), plain_len, serial) };
        self.used = self.used.checked_add(wanted)?;
        written.then_some(())
    }

    fn take_run(
        &self,
        spool: &Spool,
        emptied: &mut Vec<PageIndex>,
        now: Ticks,
    ) -> Option<PageIndex> {
        if let Some(run) = emptied.pop() {
            let serial = self.serial.unwrap_or_else(|| spool.take_serial());
            let header =
                PageHeader { kind: self.kind, serial, number: RUN_PAGES, tid: 0, opened: now };
            // SAFETY: runs in `emptied` are the drain's.
            if unsafe { spool.reuse_run(run, header) } {
                return Some(run);
            }
            emptied.push(run);
        }
        spool.take_run(self.kind, self.serial, now)
    }
}

/// What is appended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    pub(super) kind: ChunkKind,
    pub(super) codec: Codec,
    pub(super) payload: &'a [u8],
    pub(super) plain_len: usize,
    /// The serial of the page that it replaces; 0 for none.
    pub(super) serial: u64,
}
