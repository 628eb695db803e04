//! The thread that rewrites full pages as compressed chunks and gives the pages back.

mod compactor;
mod fold;
mod run_log;

use crossbeam_channel::Receiver;
use tftrace_format::chunk::ChunkKind;
use tftrace_format::node_codec::write_nodes;
use tftrace_format::page::{
    EVENTS_PER_PAGE, PAGE_BYTES, PAGE_HEADER_BYTES, PageHeader, PageKind, TOTALS_PER_PAGE, u64_at,
};
use tftrace_format::page_codec::{
    PAYLOAD_LIMIT, PLAIN_LIMIT, PageThread, compress, raw_events, write_events, write_totals,
};
use tftrace_format::totals::{TOTALS_BYTES, Temporaries};
use tftrace_format::{Event, Ticks};

use crate::own_memory;
use crate::process::Process;
use crate::spool::PageIndex;
use compactor::Compactor;
use run_log::Chunk;

/// Where a page is rewritten: made once, because there may be no memory later.
struct Room {
    events: Vec<Event>,
    /// Their keys.
    order: Vec<u64>,
    totals: Vec<[u64; 2]>,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Room {
    /// `None` if there is no memory.
    fn new() -> Option<Self> {
        let (events, order, totals) = (Vec::new(), Vec::new(), Vec::new());
        let mut room = Self { events, order, totals, plain: Vec::new(), packed: Vec::new() };
        room.events.try_reserve_exact(EVENTS_PER_PAGE).ok()?;
        room.order.try_reserve_exact(EVENTS_PER_PAGE).ok()?;
        room.totals.try_reserve_exact(TOTALS_PER_PAGE).ok()?;
        for (bytes, len) in [(&mut room.plain, PLAIN_LIMIT), (&mut room.packed, PAYLOAD_LIMIT)] {
            bytes.try_reserve_exact(len).ok()?;
            bytes.resize(len, 0);
        }
        Some(room)
    }
}

/// A key of an event has its place in the page in these bits, and its time since the first event above them and one
/// more, which says what comes first of the same tick.
const PLACE_BITS: u32 = 11;
const _: () = assert!(EVENTS_PER_PAGE <= 1 << PLACE_BITS);

fn place_of(key: u64) -> usize {
    (key % (1 << PLACE_BITS)) as usize
}

/// Makes a key for each event, and sorts these: half of the time that the events themselves would take. What is the
/// same in all stays in the order of places.
fn sort(events: &[Event], order: &mut Vec<u64>) {
    let first = events.iter().map(|event| event.time().0).min().unwrap_or(0);
    let longest = u64::MAX >> (PLACE_BITS + 1);
    let mut is_long = false;
    order.clear();
    order.extend(events.iter().zip(0..).map(|(event, place)| {
        let (time, is_later) = event.order();
        let passed = time.0.saturating_sub(first);
        is_long |= passed > longest;
        passed << (PLACE_BITS + 1) | u64::from(is_later) << PLACE_BITS | place
    }));
    match is_long {
        false => order.sort_unstable(),
        // A thread that did next to nothing for weeks.
        true => order.sort_unstable_by_key(|key| {
            let place = place_of(*key);
            (events.get(place).map(Event::order), place)
        }),
    }
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
    let Room { events, order, totals, plain, packed } = room;
    process.spool.bring(page);
    // SAFETY: the page was handed over, so nobody writes to it, and it stays mapped.
    let bytes = unsafe { core::slice::from_raw_parts(process.spool.page(page), PAGE_BYTES) };
    let header = PageHeader::from_wire(bytes).ok()?;
    let body = bytes.get(PAGE_HEADER_BYTES..)?;
    let thread = PageThread { number: header.number, tid: header.tid };
    let (kind, len) = match header.kind {
        PageKind::Events => {
            events.clear();
            events.extend(raw_events(body).flatten().take(EVENTS_PER_PAGE));
            sort(events, order);
            let sorted = order.iter().filter_map(|key| events.get(place_of(*key)));
            (ChunkKind::Events, write_events(thread, sorted.copied(), plain)?)
        }
        PageKind::Totals => {
            let entries = body.chunks_exact(TOTALS_BYTES).take(TOTALS_PER_PAGE);
            totals.clear();
            totals.extend(entries.map(|entry| [u64_at(entry, 0), u64_at(entry, 8)]));
            totals.retain(|[_, count]| *count != 0);
            // By call stack, which is in the lower half of a key: differences of neighbours are small.
            totals.sort_unstable_by_key(|[key, _]| key.rotate_left(32));
            let entries = totals.iter().copied().filter_map(Temporaries::from_wire);
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
    use tftrace_format::Domain;

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
            let events = [
                freed(50, 1),
                allocated(7, 2),
                allocated(7, 3),
                freed(7, 4),
                allocated(0, 5),
                freed(7, 6),
                freed(1, 7),
            ];
            let mut order = Vec::new();
            sort(&events, &mut order);
            let places: Vec<usize> = order.iter().map(|key| place_of(*key)).collect();
            assert_eq!(places, [4, 6, 3, 5, 1, 2, 0]);
            sort(&[], &mut order);
            assert_eq!(order, []);
        }
    }
}
