//! Appends chunks to runs of pages, from any thread, without a lock.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tftrace_format::Ticks;
use tftrace_format::chunk::{CHUNK_MAGIC, ChunkHeader, ChunkKind, Codec, framed_len};
use tftrace_format::counters::Counter;
use tftrace_format::page::{PAGE_BYTES, PAGE_HEADER_BYTES, PageKind};
use tftrace_format::record::{RECORD_LIMIT, Record};

use super::{PageIndex, Spool};

/// Pages of a run: the largest chunk fits.
pub(crate) const RUN_PAGES: u32 = 4;
pub(crate) const RUN_BYTES: usize = RUN_PAGES as usize * PAGE_BYTES;
const _: () = assert!(
    tftrace_format::page_codec::PAYLOAD_LIMIT + 64 < RUN_BYTES - PAGE_HEADER_BYTES,
    "a chunk must fit into one run"
);

/// Where the next chunk goes.
#[derive(Debug, Default)]
pub(crate) struct ChunkLog {
    /// First page of the run in the upper 32 bits, bytes used in the lower. 0 = no run yet.
    place: AtomicU64,
    /// First page of a run that two threads took at once, of which only one was needed. 0 = none.
    spare: AtomicU32,
}

impl ChunkLog {
    /// Appends a chunk. False: the file cannot grow.
    pub(crate) fn append(
        &self,
        spool: &Spool,
        now: Ticks,
        kind: ChunkKind,
        packed: (Codec, &[u8]),
        plain_len: usize,
        serial: u64,
    ) -> bool {
        let Some(place) = self.reserve(spool, now, packed.1.len()) else { return false };
        // SAFETY: `reserve` gave this place to this call alone, with room for header and payload.
        unsafe { write_chunk(place, kind, packed, plain_len, serial) }
    }

    /// Takes finished runs out of the process's resident memory. For the drain.
    pub(crate) fn leave_written(&self, spool: &Spool) {
        let last = self.place.load(Ordering::Relaxed) >> 32; // A run that is begun just now may go: it comes back.
        spool.leave_written(PageIndex(last as u32));
    }

    /// Appends a record; a failure is counted.
    pub(crate) fn record(&self, spool: &Spool, now: Ticks, record: &Record<'_>) {
        self.large_record(spool, now, record, &mut [0; RECORD_LIMIT]);
    }

    /// As [`ChunkLog::record`], with the caller's room to write it in.
    pub(crate) fn large_record(
        &self,
        spool: &Spool,
        now: Ticks,
        record: &Record<'_>,
        room: &mut [u8],
    ) {
        let written = record.to_wire(room).and_then(|len| room.get(..len));
        let done = written.is_some_and(|bytes| {
            self.append(spool, now, ChunkKind::Record, (Codec::Plain, bytes), bytes.len(), 0)
        });
        if !done {
            spool.count(Counter::LostRecords, 1);
        }
    }

    fn reserve(&self, spool: &Spool, now: Ticks, payload_len: usize) -> Option<*mut u8> {
        let wanted = framed_len(payload_len)?;
        // Acquire/release: a run's header is written before its place is published.
        let mut place = self.place.load(Ordering::Acquire);
        let mut taken = None;
        loop {
            let (run, used) = (place >> 32, (place & 0xFFFF_FFFF) as usize);
            let (run, start) = if run != 0 && used.checked_add(wanted)? <= RUN_BYTES {
                (PageIndex(run as u32), used)
            } else {
                taken = Some(taken.or_else(|| self.take_run(spool, now))?);
                (taken?, PAGE_HEADER_BYTES)
            };
            let new = (u64::from(run.0) << 32) | start.checked_add(wanted)? as u64;
            match self.place.compare_exchange(place, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    if let Some(lost) = taken.filter(|&taken| taken != run) {
                        // Release: who takes it sees its header. One that is there stays empty, which a reader
                        // understands.
                        self.spare.store(lost.0, Ordering::Release);
                    }
                    // SAFETY: `start` is inside the run.
                    return Some(unsafe { spool.page(run).add(start) });
                }
                Err(now) => place = now,
            }
        }
    }

    fn take_run(&self, spool: &Spool, now: Ticks) -> Option<PageIndex> {
        match self.spare.swap(0, Ordering::Acquire) {
            0 => spool.take_run(PageKind::Chunks, None, now),
            spare => {
                // It was there for long, perhaps, and nobody looked at it.
                spool.run_is_back(PageIndex(spare));
                Some(PageIndex(spare))
            }
        }
    }
}

/// Writes a chunk. False, and nothing is written: it is too large for the format.
///
/// # Safety
/// `place` is a multiple of eight, the caller's alone, and has room for header and payload.
pub(crate) unsafe fn write_chunk(
    place: *mut u8,
    kind: ChunkKind,
    (codec, payload): (Codec, &[u8]),
    plain_len: usize,
    serial: u64,
) -> bool {
    let (Ok(payload_len), Ok(plain_len)) = (u32::try_from(payload.len()), u32::try_from(plain_len))
    else {
        return false;
    };
    let header =
        ChunkHeader { kind: kind as u8, codec: codec as u8, payload_len, plain_len, serial };
    let header = header.to_wire(payload);
    let Some(rest) = header.get(4..) else { return false };
    // SAFETY: our caller promises the room.
    unsafe { core::ptr::copy_nonoverlapping(rest.as_ptr(), place.wrapping_add(4), rest.len()) };
    // SAFETY: as above.
    let body = unsafe { place.add(header.len()) };
    // SAFETY: as above.
    unsafe { core::ptr::copy_nonoverlapping(payload.as_ptr(), body, payload.len()) };
    // SAFETY: our caller promises the alignment; the word is this call's.
    let magic = unsafe { AtomicU32::from_ptr(place.cast()) };
    // Release: whoever finds the magic finds the chunk. This is the commit point.
    magic.store(CHUNK_MAGIC, Ordering::Release);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_two_threads_take_at_once_is_used_later() {
        const CHUNKS: u64 = 2_000;
        const IN_A_RUN: u64 = 32;
        let (spool, log) = (Spool::for_test(None), ChunkLog::default());
        let payload = [7; RUN_BYTES / IN_A_RUN as usize - 64];
        let append = || {
            let packed = (Codec::Plain, &payload[..]);
            for serial in 0..CHUNKS / 2 {
                let kind = ChunkKind::Record;
                assert!(log.append(&spool, Ticks(1), kind, packed, payload.len(), serial));
            }
        };
        let before = spool.taken_pages();
        std::thread::scope(|scope| {
            scope.spawn(append);
            scope.spawn(append);
        });
        let runs = (spool.taken_pages() - before).div_ceil(RUN_PAGES.into());
        let needed = CHUNKS.div_ceil(IN_A_RUN);
        assert!((needed..=needed + 1).contains(&runs), "{runs} of {needed}");
    }
}
