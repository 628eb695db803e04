//! A node that is looked for, and what of its hash is compared where.
//!
//! The parts share no bits of the hash that anything else depends on: each makes another one less probable to be
//! taken for the wanted one.

use super::LINE;

/// Spreads a frame below a parent over 64 bits, each of which depends on every bit of both: the
/// two halves of a 128-bit product, as in wyhash.
#[inline(always)]
pub(crate) fn hash(parent: u32, frame: u64) -> u64 {
    let left = u128::from(frame ^ 0x9E37_79B9_7F4A_7C15);
    let right = u128::from(u64::from(parent) ^ 0xD1B5_4A32_D192_ED03);
    let product = left.wrapping_mul(right);
    (product as u64) ^ ((product >> 64) as u64)
}

/// The node of a frame below a parent, 0 = the root.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) parent: u32,
    /// As [`tftrace_format::Frame::to_wire`] gives it.
    pub(crate) frame: u64,
    hash: u64,
}

impl Wanted {
    #[inline(always)]
    pub(crate) fn new(parent: u32, frame: u64) -> Self {
        Self { parent, frame, hash: hash(parent, frame) }
    }

    /// What of the hash is kept of each node. Both halves: beside the tag, which is of the lower one, and beside the
    /// mark, which is of the upper one, these are 32 more bits.
    #[inline(always)]
    pub(super) fn check(&self) -> u32 {
        (self.hash >> 32) as u32 ^ self.hash as u32
    }

    /// The part of the hash that a slot holds: other bits than those that say where slot and cache look.
    #[inline(always)]
    pub(super) fn tag(&self) -> u32 {
        (self.hash >> 24) as u32 & 0xFF
    }

    /// Bits that a mark is made of: the 24 uppermost.
    #[inline(always)]
    pub(super) fn mark_bits(&self) -> u64 {
        self.hash >> 40
    }

    /// The slot of a line that is looked at first.
    #[inline(always)]
    pub(super) fn start(&self) -> usize {
        self.hash as usize >> 20 & (LINE - 1)
    }

    /// Where the search in the far part begins, as a number to be cut to its size.
    #[inline(always)]
    pub(super) fn far(&self) -> usize {
        self.hash as usize
    }
}
