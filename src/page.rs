//! Pages: the unit in which a trace file is written, and the 64 bytes each begins with.
//!
//! ```text
//! 0 magic "TFpg"   4 kind   5 zero   8 serial (8 bytes)   16 number   20 tid   24 opened (ticks, 8 bytes)
//! 32 zero          56 CRC-32 of bytes 4..56   60 zero
//! ```
//! The magic is stored last: a page whose header was not finished has none, and counts as unused.

use crate::ids::Ticks;

/// Bytes of a page.
pub const PAGE_BYTES: usize = 32 * 1024;
/// Bytes of a page's header; entries follow it.
pub const PAGE_HEADER_BYTES: usize = 64;
/// Bytes of a page that hold entries.
pub const PAGE_BODY_BYTES: usize = PAGE_BYTES - PAGE_HEADER_BYTES;
/// The first four bytes of a page in use: "TFpg".
pub const PAGE_MAGIC: u32 = u32::from_le_bytes(*b"TFpg");

/// Entries of an event page.
pub const EVENTS_PER_PAGE: usize = PAGE_BODY_BYTES / crate::event::EVENT_BYTES;
/// Entries of a totals page.
pub const TOTALS_PER_PAGE: usize = PAGE_BODY_BYTES / crate::totals::TOTALS_BYTES;
/// Entries of a node page.
pub const NODES_PER_PAGE: usize = PAGE_BODY_BYTES / crate::node::NODE_BYTES;

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PageKind {
    /// [`crate::event::RawEvent`]s of one thread, in no order.
    Events = 1,
    /// [`crate::totals::Temporaries`] of one thread.
    Totals = 2,
    /// [`crate::node::Node`]s of 16 bytes, as versions 1 and 2 have them; the header's number is the id of the first.
    WideNodes = 3,
    /// [`crate::chunk`]s; the header's number is how many pages the run has, this one included.
    Chunks = 4,
    /// As `Chunks`, until a compaction takes their place: void if the serial is below
    /// [`crate::counters::Counter::CompactedBelow`].
    Drained = 5,
    /// As `Chunks`, what a compaction made. The serial is the compaction's: void unless it is
    /// [`crate::counters::Counter::CompactedBelow`].
    Compacted = 6,
    /// [`crate::node::Node`]s; the header's number is the id of the first.
    Nodes = 7,
}

impl PageKind {
    /// Whether it is the first page of a run.
    pub fn is_run(self) -> bool {
        matches!(self, PageKind::Chunks | PageKind::Drained | PageKind::Compacted)
    }

    /// The kind with this number.
    pub fn from_wire(number: u8) -> Option<Self> {
        Some(match number {
            1 => PageKind::Events,
            2 => PageKind::Totals,
            3 => PageKind::WideNodes,
            4 => PageKind::Chunks,
            5 => PageKind::Drained,
            6 => PageKind::Compacted,
            7 => PageKind::Nodes,
            _ => return None,
        })
    }
}

/// What a page says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHeader {
    /// What it holds.
    pub kind: PageKind,
    /// Unique in the trace, but for compacted runs. A chunk that replaces a page carries the page's serial.
    pub serial: u64,
    /// Events, totals: the tracer's number of the thread. Nodes: the first id. Chunks: pages of the run.
    pub number: u32,
    /// The thread's id, as the kernel numbers it.
    pub tid: u32,
    /// When the page was taken.
    pub opened: Ticks,
}

impl PageHeader {
    /// The header as it stands in a page, magic included.
    pub fn to_wire(&self) -> [u8; PAGE_HEADER_BYTES] {
        let mut bytes = [0; PAGE_HEADER_BYTES];
        put(&mut bytes, 0, &PAGE_MAGIC.to_le_bytes());
        put(&mut bytes, 4, &[self.kind as u8]);
        put(&mut bytes, 8, &self.serial.to_le_bytes());
        put(&mut bytes, 16, &self.number.to_le_bytes());
        put(&mut bytes, 20, &self.tid.to_le_bytes());
        put(&mut bytes, 24, &self.opened.0.to_le_bytes());
        let crc = crc32fast::hash(bytes.get(4..56).unwrap_or_default());
        put(&mut bytes, 56, &crc.to_le_bytes());
        bytes
    }

    /// Reads a header; says what is wrong with the bytes if it is none.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, PageFault> {
        let bytes = bytes.get(..PAGE_HEADER_BYTES).ok_or(PageFault::Unused)?;
        if bytes.iter().all(|&byte| byte == 0) || u32_at(bytes, 0) == 0 {
            return Err(PageFault::Unused);
        }
        let crc = crc32fast::hash(bytes.get(4..56).unwrap_or_default());
        if u32_at(bytes, 0) != PAGE_MAGIC || u32_at(bytes, 56) != crc {
            return Err(PageFault::Damaged);
        }
        let kind = bytes.get(4).copied().and_then(PageKind::from_wire);
        Ok(Self {
            kind: kind.ok_or(PageFault::Damaged)?,
            serial: u64_at(bytes, 8),
            number: u32_at(bytes, 16),
            tid: u32_at(bytes, 20),
            opened: Ticks(u64_at(bytes, 24)),
        })
    }
}

/// Why bytes are no page header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFault {
    /// Never taken, given back, or taken at the very moment the process died.
    Unused,
    /// Not what the tracer wrote.
    Damaged,
}

/// Copies a value to its place; `None`, and nothing copied, if it does not fit.
///
/// Not `copy_from_slice`, which would bring the tracer's hooks a panic that can never happen.
pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    let target = bytes.get_mut(at..at.checked_add(value.len())?)?;
    for (to, from) in target.iter_mut().zip(value) {
        *to = *from;
    }
    Some(())
}

/// The little-endian number at `at`; zero past the end.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let end = at.saturating_add(4);
    bytes.get(at..end).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The little-endian number at `at`; zero past the end.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let end = at.saturating_add(8);
    bytes.get(at..end).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_and_every_changed_byte_is_noticed() {
        let header = PageHeader {
            kind: PageKind::Nodes,
            serial: 7,
            number: 2043,
            tid: 99,
            opened: Ticks(5),
        };
        let bytes = header.to_wire();
        assert_eq!(PageHeader::from_wire(&bytes), Ok(header));
        for at in 0..60 {
            let mut damaged = bytes;
            damaged[at] ^= 1;
            assert_eq!(PageHeader::from_wire(&damaged), Err(PageFault::Damaged), "byte {at}");
        }
        assert_eq!(PageHeader::from_wire(&[0; 64]), Err(PageFault::Unused));
    }
}
