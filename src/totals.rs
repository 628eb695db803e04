//! Temporaries: allocations that their own thread freed while both events were in its page.
//!
//! They leave the trace as a count per (stack, size). An entry is two words:
//! ```text
//! word 0   0..32 stack   32..61 size   61..64 domain
//! word 1   0..56 count   56..64 check byte of both words
//! ```

use crate::check;
use crate::event::Domain;
use crate::ids::StackId;

/// The bytes of an entry in a page.
pub const TOTALS_BYTES: usize = 16;

/// The largest size, in bytes, that can be folded.
pub const LARGEST_FOLDED: u64 = (1 << 29) - 1;

/// What makes two temporaries the same: stack, size and domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TemporaryKey {
    /// Who asked.
    pub stack: Option<StackId>,
    /// Bytes asked for, at most [`LARGEST_FOLDED`].
    pub size: u64,
    /// Whose memory.
    pub domain: Domain,
}

impl TemporaryKey {
    /// The key as one word; `None` if the size is too large.
    #[inline(always)]
    pub fn to_wire(self) -> Option<u64> {
        if self.size > LARGEST_FOLDED {
            return None;
        }
        let domain = (self.domain as u64) << 61;
        Some(u64::from(StackId::to_wire(self.stack)) | (self.size << 32) | domain)
    }

    /// The key of a word, or `None` for an unknown domain.
    pub fn from_wire(word: u64) -> Option<Self> {
        Some(Self {
            stack: StackId::new((word & 0xFFFF_FFFF) as u32),
            size: (word >> 32) & LARGEST_FOLDED,
            domain: Domain::from_wire(word >> 61)?,
        })
    }
}

/// How often a temporary was allocated and freed while its page was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temporaries {
    /// Which.
    pub key: TemporaryKey,
    /// How often.
    pub count: u64,
}

impl Temporaries {
    /// The entry of these words, or `None` if they are damaged.
    pub fn from_wire(words: [u64; 2]) -> Option<Self> {
        let count = check::open(words[1], words[0])?;
        Some(Self { key: TemporaryKey::from_wire(words[0])?, count })
    }

    /// The count word of an entry.
    #[inline(always)]
    pub fn count_to_wire(key: u64, count: u64) -> u64 {
        check::seal(count, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_the_wire() {
        let key =
            TemporaryKey { stack: StackId::new(9), size: LARGEST_FOLDED, domain: Domain::CudaHost };
        let word = key.to_wire().unwrap();
        let entry = Temporaries::from_wire([word, Temporaries::count_to_wire(word, 5)]);
        assert_eq!(entry, Some(Temporaries { key, count: 5 }));
        assert_eq!(TemporaryKey { size: LARGEST_FOLDED + 1, ..key }.to_wire(), None);
    }
}
