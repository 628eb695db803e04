//! Chunks: framed, CRC'd pieces inside a run of pages. A drained page is one, a record is one.
//!
//! ```text
//! 0 magic "TFck"   4 kind   5 codec   6 zero   8 payload bytes   12 bytes before compression
//! 16 serial (8 bytes)   24 CRC-32 of bytes 4..24 and the payload   28 zero   32 payload, padded to 8
//! ```
//! The magic is stored last, so a chunk that was being written when the process died does not exist.
//! Chunks begin at multiples of 8 bytes: after damage the next one is found by its magic and CRC.

use crate::page::{put, u32_at, u64_at};

/// The first four bytes of a chunk: "TFck".
pub const CHUNK_MAGIC: u32 = u32::from_le_bytes(*b"TFck");
/// Bytes before a chunk's payload.
pub const CHUNK_HEADER_BYTES: usize = 32;

/// What a chunk's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChunkKind {
    /// A drained page of events, event by event, up to version 5.
    EventRows = 1,
    /// A drained page of temporaries, one by one, up to version 5.
    TotalRows = 2,
    /// One [`crate::record::Record`].
    Record = 3,
    /// A drained page of nodes, from version 5 on.
    Nodes = 4,
    /// A drained page of events, from version 6 on.
    Events = 5,
    /// A drained page of temporaries, from version 6 on.
    Totals = 6,
}

/// Whether a payload is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// As it is.
    Plain = 0,
    /// One LZ4 block.
    Lz4 = 1,
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHeader {
    /// What the payload is. Kinds from 128 on may be skipped by a reader that does not know them.
    pub kind: u8,
    /// How it is packed.
    pub codec: u8,
    /// Bytes that follow the header, padding not counted.
    pub payload_len: u32,
    /// Bytes after decompression.
    pub plain_len: u32,
    /// The serial of the page that this chunk replaces; 0 for a record.
    pub serial: u64,
}

impl ChunkHeader {
    /// The header as it stands in a file, for this payload.
    pub fn to_wire(&self, payload: &[u8]) -> [u8; CHUNK_HEADER_BYTES] {
        let mut bytes = [0; CHUNK_HEADER_BYTES];
        let parts: [(usize, &[u8]); 6] = [
            (0, &CHUNK_MAGIC.to_le_bytes()),
            (4, &[self.kind]),
            (5, &[self.codec]),
            (8, &self.payload_len.to_le_bytes()),
            (12, &self.plain_len.to_le_bytes()),
            (16, &self.serial.to_le_bytes()),
        ];
        for (at, value) in parts {
            // They all fit.
            let _ = put(&mut bytes, at, value);
        }
        let crc = checksum(&bytes, payload).to_le_bytes();
        let _ = put(&mut bytes, 24, &crc);
        bytes
    }
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header.get(4..24).unwrap_or_default());
    hasher.update(payload);
    hasher.finalize()
}

/// Bytes that a payload of this length takes in a run of pages, header and padding included.
pub fn framed_len(payload_len: usize) -> Option<usize> {
    payload_len.checked_add(CHUNK_HEADER_BYTES)?.checked_next_multiple_of(8)
}

/// What stands at a place of a run of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot<'a> {
    /// A whole chunk, and the bytes it takes.
    Chunk(ChunkHeader, &'a [u8], usize),
    /// No chunk begins here, and nothing says that one should.
    Empty,
    /// A chunk began here and is damaged.
    Damaged,
}

/// Looks at the beginning of `bytes`.
pub fn look(bytes: &[u8]) -> Slot<'_> {
    if u32_at(bytes, 0) != CHUNK_MAGIC {
        let word = bytes.get(..8).unwrap_or(bytes);
        return if word.iter().all(|&byte| byte == 0) { Slot::Empty } else { Slot::Damaged };
    }
    let header = ChunkHeader {
        kind: bytes.get(4).copied().unwrap_or(0),
        codec: bytes.get(5).copied().unwrap_or(0),
        payload_len: u32_at(bytes, 8),
        plain_len: u32_at(bytes, 12),
        serial: u64_at(bytes, 16),
    };
    let payload_len = header.payload_len as usize;
    let payload = payload_len
        .checked_add(CHUNK_HEADER_BYTES)
        .and_then(|end| bytes.get(CHUNK_HEADER_BYTES..end));
    match (payload, framed_len(payload_len)) {
        (Some(payload), Some(taken)) if checksum(bytes, payload) == u32_at(bytes, 24) => {
            Slot::Chunk(header, payload, taken)
        }
        _ => Slot::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_survives_and_every_changed_byte_is_noticed() {
        let payload = b"some payload!";
        let header = ChunkHeader {
            kind: ChunkKind::Record as u8,
            codec: Codec::Plain as u8,
            payload_len: payload.len() as u32,
            plain_len: payload.len() as u32,
            serial: 3,
        };
        let mut bytes = header.to_wire(payload).to_vec();
        bytes.extend_from_slice(payload);
        bytes.resize(framed_len(payload.len()).unwrap(), 0);
        assert_eq!(look(&bytes), Slot::Chunk(header, payload, bytes.len()));
        for at in (0..CHUNK_HEADER_BYTES + payload.len()).filter(|at| !matches!(at, 6..8 | 28..32))
        {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(look(&damaged), Slot::Damaged, "byte {at}");
        }
        assert_eq!(look(&[0; 8]), Slot::Empty);
    }
}
