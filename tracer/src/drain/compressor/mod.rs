//! The thread that rewrites full pages as compressed chunks and gives the pages back.

mod compactor;
mod fold;
mod run_log;

use crossbeam_channel::Receiver;
use tftrace_format::chunk::ChunkKind;
use tftrace_format::event::{EVENT_BYTES, RawEvent};
use tftrace_format::event_codec::write_raw_events;
use tftrace_format::node_codec::write_nodes;
use tftrace_format::page::{
    EVENTS_PER_PAGE, PAGE_BYTES, PAGE_HEADER_BYTES, PageHeader, PageKind, TOTALS_PER_PAGE, u64_at,
};
use tftrace_format::page_codec::{PAYLOAD_LIMIT, PageThread, WRITING_ROOM, compress};
use tftrace_format::totals::{TOTALS_BYTES, Temporaries, TemporaryKey};
use tftrace_format::totals_codec::write_totals;
use tftrace_format::{StackId, Ticks};

use crate::own_memory;
use crate::process::Process;
use crate::spool::PageIndex;
use compactor::Compactor;
use run_log::Chunk;

/// Where a page is rewritten: made once, because there may be no memory later.
struct Room {
    /// A key for each entry of a page.
    order: Vec<u64>,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Room {
    /// `None` if there is no memory.
    fn new() -> Option<Self> {
        let mut room = Self { order: Vec::new(), plain: Vec::new(), packed: Vec::new() };
        room.order.try_reserve_exact(EVENTS_PER_PAGE.max(TOTALS_PER_PAGE)).ok()?;
        for (bytes, len) in [(&mut room.plain, WRITING_ROOM), (&mut room.packed, PAYLOAD_LIMIT)] {
            bytes.try_reserve_exact(len).ok()?;
            bytes.resize(len, 0);
        }
        Some(room)
    }
}

/// A key of an entry has its place in the page in these bits, and above them what it is sorted by: keys are sorted in
/// half of the time that the entries themselves would take. What is the same in several stays in the order of places.
const PLACE_BITS: u32 = 11;
const _: () = assert!(EVENTS_PER_PAGE <= 1 << PLACE_BITS && TOTALS_PER_PAGE <= 1 << PLACE_BITS);

fn place_of(key: u64) -> usize {
    (key % (1 << PLACE_BITS)) as usize
}

/// The event in this place of a page's body.
fn event_at(body: &[u8], place: usize) -> Option<RawEvent> {
    let slot = body.as_chunks::<EVENT_BYTES>().0.get(place)?;
    Some(RawEvent([0, 8, 16].map(|at| u64_at(slot, at))))
}

/// Makes a key for each event of a page that is not damaged, and sorts these: by time, of which they have as much as
/// there is room for since the first event, and of the same tick by what comes first.
fn sort_events(body: &[u8], order: &mut Vec<u64>) {
    let time = |place| event_at(body, place).and_then(|event| event.order());
    let places = || (0..EVENTS_PER_PAGE).filter_map(|place| Some((time(place)?, place)));
    let first = places().map(|((time, _), _)| time.0).min().unwrap_or(0);
    let longest = u64::MAX >> (PLACE_BITS + 1);
    let mut is_long = false;
    order.clear();
    order.extend(places().map(|((time, is_later), place)| {
        let passed = time.0.saturating_sub(first);
        is_long |= passed > longest;
        passed << (PLACE_BITS + 1) | u64::from(is_later) << PLACE_BITS | place as u64
    }));
    match is_long {
        false => order.sort_unstable(),
        // A thread that did next to nothing for weeks.
        true => order.sort_unstable_by_key(|key| (time(place_of(*key)), *key % (1 << PLACE_BITS))),
    }
}

/// The two words of the entry in this place of a page's body.
fn total_at(body: &[u8], place: usize) -> Option<[u64; 2]> {
    let entry = body.as_chunks::<TOTALS_BYTES>().0.get(place)?;
    Some([0, 8].map(|at| u64_at(entry, at)))
}

/// Makes a key for each entry of a page of totals, and sorts these by call stack: differences of neighbours are small
/// then.
fn sort_totals(body: &[u8], order: &mut Vec<u64>) {
    let entries = (0..TOTALS_PER_PAGE).filter_map(|place| Some((total_at(body, place)?, place)));
    order.clear();
    order.extend(entries.filter(|([_, count], _)| *count != 0).map(|([key, _], place)| {
        let stack = StackId::to_wire(TemporaryKey::from_wire(key).and_then(|key| key.stack));
        u64::from(stack) << PLACE_BITS | place as u64
    }));
    order.sort_unstable();
}

/// Runs until the collector is gone; false if there is no memory to begin with.
pub(super) fn run(process: &'static Process, pages: &Receiver<PageIndex>) -> bool {
    let Some(mut room) = Room::new() else { return false };
    let mut compactor = match process.settings.bound {
        None => None,
        Some(bound) => match Compactor::new(bound.get()) {
            None => return false,
            compactor => compactor,
        },
    };
    process.spool.drain_begins();
    for page in pages {
        // The compression takes a block of this size and aborts where there is none.
        let ready = own_memory::make_ready();
        if ready && rewrite(process, page, &mut room, compactor.as_mut()).is_some() {
            // SAFETY: the page was handed over, and its entries stand in a chunk now.
            unsafe { process.spool.give_back(page) };
            process.spool.gather_runs();
        }
        if let Some(compactor) = compactor.as_mut().filter(|_| ready) {
            compactor.after_page(process);
        }
        // What cannot be rewritten stays as it is: it is a part of the trace already.
    }
    true
}

fn rewrite(
    process: &Process,
    page: PageIndex,
    room: &mut Room,
    compactor: Option<&mut Compactor>,
) -> Option<()> {
    let Room { order, plain, packed } = room;
    process.spool.bring(page);
    // SAFETY: the page was handed over, so nobody writes to it, and it stays mapped.
    let bytes = unsafe { core::slice::from_raw_parts(process.spool.page(page), PAGE_BYTES) };
    let header = PageHeader::from_wire(bytes).ok()?;
    let body = bytes.get(PAGE_HEADER_BYTES..)?;
    let thread = PageThread { number: header.number, tid: header.tid };
    let (kind, len) = match header.kind {
        PageKind::Events => {
            sort_events(body, order);
            let events = order.iter().filter_map(|key| event_at(body, place_of(*key)));
            (ChunkKind::Events, write_raw_events(thread, events, plain)?)
        }
        PageKind::Totals => {
            sort_totals(body, order);
            let words = order.iter().filter_map(|key| total_at(body, place_of(*key)));
            let entries = words.filter_map(Temporaries::from_wire);
            (ChunkKind::Totals, write_totals(thread, entries, plain)?)
        }
        PageKind::Nodes => (ChunkKind::Nodes, write_nodes(header.number, body, plain)?),
        PageKind::WideNodes | PageKind::Chunks | PageKind::Drained | PageKind::Compacted => {
            return None;
        }
    };
    let plain = plain.get(..len)?;
    let (codec, packed_len) = compress(plain, packed)?;
    let payload = packed.get(..packed_len)?;
    let now = Ticks(process.clock.now().0);
    // Nodes stay as long as the trace.
    if let Some(compactor) = compactor.filter(|_| kind != ChunkKind::Nodes) {
        let serial = header.serial;
        let chunk = Chunk { kind, codec, payload, plain_len: len, serial };
        return compactor.append(&process.spool, now, chunk);
    }
    let done = process.log.append(&process.spool, now, kind, (codec, payload), len, header.serial);
    done.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tftrace_format::page::{PAGE_BODY_BYTES, put};
    use tftrace_format::{Domain, Event, Ticks, check};

    fn body<const WORDS: usize>(entries: &[[u64; WORDS]]) -> Vec<u8> {
        let mut body = vec![0; PAGE_BODY_BYTES];
        for (at, word) in entries.iter().flatten().enumerate() {
            put(&mut body, 8 * at, &word.to_le_bytes()).unwrap();
        }
        body
    }

    fn sorted(sort: impl FnOnce(&mut Vec<u64>)) -> Vec<usize> {
        let mut order = vec![7];
        sort(&mut order);
        order.iter().map(|key| place_of(*key)).collect()
    }

    #[test]
    fn events_are_sorted_by_time_frees_first_and_else_as_they_stand() {
        for scale in [1, 1 << 50] {
            let freed = |time: u64, address| Event::Freed {
                time: Ticks(3 + time * scale),
                domain: Domain::Malloc,
                address,
            };
            let allocated = |time: u64, address| {
                let (time, domain, size) = (Ticks(3 + time * scale), Domain::Malloc, 1);
                Event::Allocated { time, domain, address, size, stack: None, file_backed: false }
            };
            let sized = |size| {
                let (time, domain, address) = (Ticks(3), Domain::Malloc, 16);
                Event::Allocated { time, domain, address, size, stack: None, file_backed: false }
            };
            let events = [
                freed(50, 1),
                allocated(7, 2),
                allocated(7, 3),
                freed(7, 4),
                allocated(0, 5),
                freed(7, 6),
                freed(1, 7),
            ];
            let mut raw: Vec<[u64; 3]> =
                events.iter().map(|event| RawEvent::pack(event).unwrap().0).collect();
            let expected = [4, 6, 3, 5, 1, 2, 0];
            assert_eq!(sorted(|order| sort_events(&body(&raw), order)), expected);
            raw[3][1] ^= 1;
            // One that was not finished: what stands there has the check byte of a word that is 0.
            let unfinished = (1..).map(|size| RawEvent::pack(&sized(size)).unwrap().0);
            let mut unfinished = unfinished.filter(|raw| check::open(0, raw[0] ^ raw[1]).is_some());
            raw[4] = unfinished.next().unwrap();
            raw[4][2] = 0;
            let expected = [6, 5, 1, 2, 0];
            assert_eq!(
                sorted(|order| sort_events(&body(&raw), order)),
                expected,
                "damaged, and empty"
            );
        }
        assert_eq!(sorted(|order| sort_events(&body::<3>(&[]), order)), []);
    }

    #[test]
    fn totals_are_sorted_by_call_stack_and_else_as_they_stand() {
        let entry = |stack: u32, size: u64| {
            let (stack, domain) = (StackId::new(stack), Domain::CudaHost);
            let key = TemporaryKey { stack, size, domain }.to_wire().unwrap();
            [key, Temporaries::count_to_wire(key, 1)]
        };
        let entries = [entry(u32::MAX, 1), entry(5, 9), [9, 0], entry(5, 1), entry(0, 1)];
        assert_eq!(sorted(|order| sort_totals(&body(&entries), order)), [4, 1, 3, 0]);
    }
}
