//! A page's entries as the payload of a chunk: whose they are, how they are compressed and read.

use crate::chunk::Codec;
use crate::event::{Event, RawEvent};
use crate::varint::{Reader, Writer};

/// The most bytes that the entries of one page take before compression.
pub const PLAIN_LIMIT: usize = 48 * 1024;
/// The room in which the entries of any page can be written: meanwhile they take more than they do in the end.
pub const WRITING_ROOM: usize = 68 * 1024;
/// The most bytes a payload takes, compressed or not.
pub const PAYLOAD_LIMIT: usize = PLAIN_LIMIT + PLAIN_LIMIT / 255 + 64;

/// Whose page it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageThread {
    /// The tracer's number of the thread.
    pub number: u32,
    /// The kernel's.
    pub tid: u32,
}

impl PageThread {
    pub(crate) fn write(self, out: &mut Writer<'_>) {
        out.number(u64::from(self.number));
        out.number(u64::from(self.tid));
    }

    pub(crate) fn read(input: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            number: u32::try_from(input.number()?).ok()?,
            tid: u32::try_from(input.number()?).ok()?,
        })
    }
}

/// Compresses `plain` into `room`. Gives the codec and the bytes used; `None` if `room` is too small.
pub fn compress(plain: &[u8], room: &mut [u8]) -> Option<(Codec, usize)> {
    if let Ok(len) = lz4_flex::block::compress_into(plain, room)
        && len < plain.len()
    {
        return Some((Codec::Lz4, len));
    }
    crate::page::put(room, 0, plain)?;
    Some((Codec::Plain, plain.len()))
}

/// The bytes before compression; `None` if they make no sense.
#[cfg(feature = "reader")]
pub fn decompress(header: &crate::chunk::ChunkHeader, payload: &[u8]) -> Option<std::vec::Vec<u8>> {
    let plain_len = header.plain_len as usize;
    if plain_len > PLAIN_LIMIT {
        return None;
    }
    let mut plain = std::vec![0; plain_len];
    decompress_into(header, payload, &mut plain)?;
    Some(plain)
}

/// Writes the bytes before compression into `room`, and gives them; `None` if they make no sense or do
/// not fit.
pub fn decompress_into<'r>(
    header: &crate::chunk::ChunkHeader,
    payload: &[u8],
    room: &'r mut [u8],
) -> Option<&'r [u8]> {
    let plain = room.get_mut(..header.plain_len as usize)?;
    let len = if header.codec == Codec::Plain as u8 {
        crate::page::put(plain, 0, payload)?;
        payload.len()
    } else if header.codec == Codec::Lz4 as u8 {
        lz4_flex::block::decompress_into(payload, plain).ok()?
    } else {
        return None;
    };
    (len == plain.len()).then_some(plain)
}

/// The events of a raw page's body, and how many slots of it are damaged.
pub fn raw_events(body: &[u8]) -> impl Iterator<Item = Result<Event, ()>> + '_ {
    body.chunks_exact(crate::event::EVENT_BYTES).filter_map(|slot| {
        let raw = RawEvent([0, 8, 16].map(|at| crate::page::u64_at(slot, at)));
        if raw.is_empty() { None } else { Some(raw.unpack().ok_or(())) }
    })
}
