//! The check byte: raw pages are written word by word, so damage is found word by word.
//!
//! The byte is the exclusive or of all bytes it guards. It finds every change of a single byte.
//! Compressed chunks have a CRC instead.

/// Bits of a word that are left for a value beside its check byte.
pub const VALUE_BITS: u32 = 56;
const VALUE_MASK: u64 = (1 << VALUE_BITS) - 1;

/// Makes a run of zeros, the commonest damage, fail the check.
const SALT: u8 = 0xA5;

const fn fold(word: u64) -> u8 {
    let word = word ^ (word >> 32);
    let word = word ^ (word >> 16);
    (word ^ (word >> 8)) as u8
}

/// `value` (56 bits) with a check byte over it and `others` in the top byte.
///
/// Never zero for a value other than zero.
#[inline(always)]
pub const fn seal(value: u64, others: u64) -> u64 {
    let value = value & VALUE_MASK;
    let check = fold(value ^ others) ^ SALT;
    value | ((check as u64) << VALUE_BITS)
}

/// The value that [`seal`] was given, or `None` if a byte of it or of `others` has changed.
#[inline(always)]
pub const fn open(word: u64, others: u64) -> Option<u64> {
    let value = word & VALUE_MASK;
    if seal(value, others) == word { Some(value) } else { None }
}

/// The value that [`seal`] was given, for who knows that nothing of the word has changed.
#[inline(always)]
pub const fn value(word: u64) -> u64 {
    word & VALUE_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_is_noticed() {
        let others = 0x0123_4567_89AB_CDEF;
        let word = seal(0x42_4242_1111, others);
        assert_eq!(value(word), 0x42_4242_1111);
        assert_eq!(open(word, others), Some(0x42_4242_1111));
        for byte in 0..8 {
            for change in 1..=255u64 {
                assert_eq!(open(word ^ (change << (byte * 8)), others), None);
                assert_eq!(open(word, others ^ (change << (byte * 8))), None);
            }
        }
    }
}
