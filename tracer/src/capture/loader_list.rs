//! The loaded object at an address, where glibc (before 2.35) does not tell: from the loader's own list.
//!
//! The list that debuggers read (`_r_debug`) may change while it is walked, and its lock is the
//! loader's. So nothing is believed: the kernel copies each piece, which fails where memory is gone,
//! and an object counts only if the program headers at its address say so. The object that is asked
//! for is on the calling stack, so what is said of it stays true; it is remembered until it is
//! unloaded.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::real::{self, FoundObject};
use crate::sampling;
use crate::system_call::read_memory;

const MOST_OBJECTS: usize = 16_384;
const MOST_KNOWN: usize = 4096;
const PAGE: u64 = 4095;

/// An object that was found before. The link map is 0 for a free place, 1 for one being written.
struct Known {
    link_map: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
    eh_frame_hdr: AtomicU64,
}

static KNOWN: [Known; MOST_KNOWN] = [const {
    Known {
        link_map: AtomicU64::new(0),
        start: AtomicU64::new(0),
        end: AtomicU64::new(0),
        eh_frame_hdr: AtomicU64::new(0),
    }
}; MOST_KNOWN];
/// Places behind this one were never used.
static USED: AtomicU64 = AtomicU64::new(0);

const FREE: u64 = 0;
const BUSY: u64 = 1;

/// The loaded object at an address that is on the calling thread's stack.
pub(crate) fn find_object(address: u64) -> Option<FoundObject> {
    if real::glibc_finds_objects() {
        return real::find_object(address);
    }
    known(address).or_else(|| {
        let found = search(address)?;
        remember(&found);
        Some(found)
    })
}

/// The object with this link map is unloaded.
pub(super) fn forget(link_map: u64) {
    for place in used() {
        // Who copies the place meanwhile sees that its link map has changed.
        let forgotten =
            place.link_map.compare_exchange(link_map, FREE, Ordering::AcqRel, Ordering::Relaxed);
        if forgotten.is_ok() {
            sampling::stop_watching(link_map);
        }
    }
}

/// The link maps of all objects that are remembered.
pub(crate) fn link_maps() -> impl Iterator<Item = u64> {
    used().map(|place| place.link_map.load(Ordering::Acquire)).filter(|link_map| *link_map > BUSY)
}

fn used() -> impl Iterator<Item = &'static Known> {
    KNOWN.iter().take(USED.load(Ordering::Acquire) as usize)
}

fn known(address: u64) -> Option<FoundObject> {
    used().find_map(|place| {
        let link_map = place.link_map.load(Ordering::Acquire);
        let start = place.start.load(Ordering::Acquire);
        let end = place.end.load(Ordering::Acquire);
        let eh_frame_hdr = place.eh_frame_hdr.load(Ordering::Acquire);
        // Acquire above: the second look at the link map is not made before the other words.
        let whole = link_map > BUSY && place.link_map.load(Ordering::Relaxed) == link_map;
        let here = whole && (start..end).contains(&address);
        here.then(|| FoundObject::new(start, end, link_map, eh_frame_hdr))
    })
}

/// Without a free place the next look-up searches again.
fn remember(found: &FoundObject) {
    for (index, place) in KNOWN.iter().enumerate() {
        let claimed =
            place.link_map.compare_exchange(FREE, BUSY, Ordering::AcqRel, Ordering::Relaxed);
        if claimed.is_ok() {
            sampling::watch(found.link_map);
            place.start.store(found.start, Ordering::Release);
            place.end.store(found.end, Ordering::Release);
            place.eh_frame_hdr.store(found.eh_frame_hdr, Ordering::Release);
            // Release: who sees the link map sees the rest.
            place.link_map.store(found.link_map, Ordering::Release);
            USED.fetch_max(index as u64 + 1, Ordering::AcqRel);
            return;
        }
    }
}

/// A copy of `N` words of memory; `None` if they are not mapped.
fn words<const N: usize>(address: u64) -> Option<[u64; N]> {
    let mut words = [[0u8; 8]; N];
    read_memory(address, words.as_flattened_mut())?;
    Some(words.map(u64::from_le_bytes))
}

fn search(address: u64) -> Option<FoundObject> {
    // `struct r_debug`: version, first link map.
    let [_, mut link_map] = words(real::loader_debug())?;
    for index in 0..MOST_OBJECTS {
        // `struct link_map`: bias, name, dynamic section, next.
        let [bias, _, _, next] = words(link_map)?;
        let headers = if index == 0 { main_headers() } else { headers_at(bias) };
        if let Some(found) = headers.and_then(|headers| object(headers, bias, link_map))
            && (found.start..found.end).contains(&address)
        {
            return Some(found);
        }
        link_map = next;
    }
    None
}

/// Where program headers lie, and how many.
#[derive(Clone, Copy)]
struct Headers {
    table: u64,
    count: u64,
}

const HEADER_WORDS: usize = 7;
const MOST_HEADERS: u64 = 64;

/// The main program may be linked to a fixed address: its bias is 0 then. The kernel says where they are.
fn main_headers() -> Option<Headers> {
    // SAFETY: reads a number from the auxiliary vector, as the next one.
    let table = unsafe { libc::getauxval(libc::AT_PHDR) };
    // SAFETY: as above.
    let count = unsafe { libc::getauxval(libc::AT_PHNUM) };
    (table != 0).then_some(Headers { table, count })
}

/// Those of an object whose first segment is the beginning of its file, as linkers do it.
fn headers_at(start: u64) -> Option<Headers> {
    let header: [u64; 8] = words(start)?;
    let [magic, _, _, _, table, _, _, counts] = header;
    let is_elf = magic.to_le_bytes().starts_with(b"\x7fELF\x02");
    is_elf.then(|| Headers { table: start.wrapping_add(table), count: counts & 0xFFFF })
}

fn object(headers: Headers, bias: u64, link_map: u64) -> Option<FoundObject> {
    let (mut start, mut end, mut eh_frame_hdr) = (u64::MAX, 0, 0);
    for index in 0..headers.count.min(MOST_HEADERS) {
        let place = headers.table.wrapping_add(index * (HEADER_WORDS as u64) * 8);
        let [kind, _, address, _, _, size, _]: [u64; HEADER_WORDS] = words(place)?;
        let first = bias.wrapping_add(address);
        match kind as u32 {
            libc::PT_LOAD => {
                start = start.min(first & !PAGE);
                end = end.max(first.wrapping_add(size));
            }
            libc::PT_GNU_EH_FRAME => eh_frame_hdr = first,
            _ => {}
        }
    }
    (start < end).then(|| FoundObject::new(start, end, link_map, eh_frame_hdr))
}
