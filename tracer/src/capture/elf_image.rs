//! A loaded ELF object in memory: its unwind tables, its build id, its path.
//!
//! Everything is read from the mapped segments of an object that is on the calling stack, and so
//! cannot be unloaded meanwhile.

use core::ffi::{CStr, c_char};

use crate::real::FoundObject;
use crate::system_call;

/// A loadable or note segment, as addresses in memory.
#[derive(Clone, Copy)]
struct Segment {
    start: u64,
    end: u64,
    kind: u32,
}

const MOST_SEGMENTS: usize = 32;

/// The segments of an object.
pub(crate) struct ElfImage {
    segments: [Segment; MOST_SEGMENTS],
    count: usize,
    bias: u64,
    /// Where its dynamic section begins, and its bytes.
    dynamic: (u64, u64),
    range: (u64, u64),
}

/// # Safety
/// `len` bytes at `start` are mapped, readable, and stay so for as long as the result is used.
unsafe fn memory<'a>(start: u64, len: u64) -> &'a [u8] {
    // SAFETY: our caller promises it.
    unsafe { core::slice::from_raw_parts(start as *const u8, len as usize) }
}

impl ElfImage {
    /// Reads the program headers of an object; `None` if they make no sense.
    ///
    /// # Safety
    /// The object is loaded, and is not unloaded while the image is used.
    pub(crate) unsafe fn read(found: &FoundObject) -> Option<Self> {
        use tftrace_format::page::{u32_at, u64_at};
        let size = found.end.checked_sub(found.start)?;
        // SAFETY: the first page of a loaded object is its first segment, and holds its header.
        let header = unsafe { memory(found.start, size.min(4096)) };
        if !header.starts_with(b"\x7fELF\x02") {
            return None;
        }
        let table = u64_at(header, 32) as usize;
        let (entry_bytes, count) =
            ((u32_at(header, 52) >> 16) as usize, u32_at(header, 56) & 0xFFFF);
        let mut image = Self {
            segments: [Segment { start: 0, end: 0, kind: 0 }; MOST_SEGMENTS],
            count: 0,
            bias: 0,
            dynamic: (0, 0),
            range: (found.start, found.end),
        };
        let programs =
            || (0..count as usize).map_while(|index| header.get(index * entry_bytes + table..));
        let is_load = |program: &&[u8]| u32_at(program, 0) == libc::PT_LOAD;
        let first = programs().find(is_load)?;
        let page = !4095;
        image.bias = found.start.wrapping_sub(u64_at(first, 16) & page);
        for program in programs() {
            let kind = u32_at(program, 0);
            if kind == libc::PT_DYNAMIC {
                image.dynamic = (image.bias.wrapping_add(u64_at(program, 16)), u64_at(program, 32));
            }
            if kind == libc::PT_LOAD || kind == libc::PT_NOTE {
                let start = image.bias.wrapping_add(u64_at(program, 16));
                // What the file holds; memory beyond it is zeros and of no interest.
                let segment = Segment { start, end: start.wrapping_add(u64_at(program, 32)), kind };
                if let Some(place) = image.segments.get_mut(image.count) {
                    *place = segment;
                    image.count += 1;
                }
            }
        }
        Some(image)
    }

    fn segments(&self, kind: u32) -> impl Iterator<Item = &Segment> {
        self.segments.iter().take(self.count).filter(move |segment| segment.kind == kind)
    }

    /// What the loader added to the addresses in the file.
    pub(crate) fn bias(&self) -> u64 {
        self.bias
    }

    /// The bytes from an address to the end of its segment; empty if it is in none.
    pub(crate) fn from(&self, address: u64) -> &[u8] {
        let segment = self
            .segments(libc::PT_LOAD)
            .find(|segment| (segment.start..segment.end).contains(&address));
        match segment {
            // SAFETY: inside a loaded segment's file part, which `read`'s caller keeps loaded.
            Some(segment) => unsafe { memory(address, segment.end - address) },
            None => &[],
        }
    }

    /// The dynamic section.
    pub(super) fn dynamic(&self) -> &[u8] {
        let (start, len) = self.dynamic;
        self.from(start).get(..len as usize).unwrap_or_default()
    }

    /// Whether the loader writes into segments that are read-only otherwise.
    pub(super) fn has_text_relocations(&self) -> bool {
        use tftrace_format::page::u64_at;
        const DT_FLAGS: u64 = 30;
        const DT_TEXTREL: u64 = 22;
        const DF_TEXTREL: u64 = 4;
        self.dynamic().chunks_exact(16).any(|entry| {
            let (tag, value) = (u64_at(entry, 0), u64_at(entry, 8));
            tag == DT_TEXTREL || tag == DT_FLAGS && value & DF_TEXTREL != 0
        })
    }

    /// An address from the dynamic section: the loader has made most of them absolute, not all.
    pub(super) fn address(&self, value: u64) -> u64 {
        let (start, end) = self.range;
        if (start..end).contains(&value) { value } else { self.bias.wrapping_add(value) }
    }

    /// The note that names this build; empty if there is none.
    pub(crate) fn build_id(&self) -> &[u8] {
        use tftrace_format::page::u32_at;
        for note in self.segments(libc::PT_NOTE) {
            let len = note.end.saturating_sub(note.start) as usize;
            let mut rest = self.from(note.start).get(..len).unwrap_or_default();
            while rest.len() >= 16 {
                let (name, value) = (u32_at(rest, 0) as usize, u32_at(rest, 4) as usize);
                let start = 12usize.saturating_add(name.saturating_add(3) & !3);
                let end = start.saturating_add(value);
                if u32_at(rest, 8) == 3 && rest.get(12..16) == Some(b"GNU\0") {
                    return rest.get(start..end).filter(|id| id.len() <= 64).unwrap_or_default();
                }
                rest = rest.get(end.saturating_add(3) & !3..).unwrap_or_default();
            }
        }
        &[]
    }

    /// The path under which the object was loaded. The main program's name is empty: it is asked for.
    pub(crate) fn path<'a>(&self, link_map: u64, room: &'a mut [u8]) -> &'a [u8] {
        // SAFETY: glibc gave this address of a `struct link_map`: the bias, then the name.
        let name = unsafe { *(link_map as *const u64).wrapping_add(1).cast::<*const c_char>() };
        if name.is_null() {
            return &[];
        }
        // SAFETY: a name ends with a zero byte and lives as long as its object.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        if name.is_empty() {
            return system_call::read_link(c"/proc/self/exe", room).unwrap_or_default();
        }
        let name = name.get(..room.len()).unwrap_or(name);
        let _ = tftrace_format::page::put(room, 0, name); // Cut to what fits.
        room.get(..name.len()).unwrap_or_default()
    }
}
