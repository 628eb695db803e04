//! A rule and the address that it is of, in one word: what nearly all frames need.
//!
//! ```text
//! 0..12 place of the CFA / 8   12..16 place of the saved bp below it / 8   16 kind   17.. mapping, and above it the address
//! ```
//!
//! A table of such words has its own number of bits for the mapping. Of the address there stands what does not follow from the
//! place in the table: the tag.

use super::objects::NO_MAPPING;
use super::rule::{Rule, Step};

const SAVED_AT: u32 = 12;
const FROM_BP: u64 = 1 << 16;
const MAPPING_AT: u32 = 17;
/// What stands for a `bp` that is not saved.
const SAME_BP: u64 = 15;

/// What stands for [`NO_MAPPING`] in so many bits.
const fn none(mapping_bits: u32) -> u32 {
    (1 << mapping_bits) - 1
}

/// The word's tag.
#[inline(always)]
pub(super) fn tag_of<const MAPPING_BITS: u32>(word: u64) -> u64 {
    word >> (MAPPING_AT + MAPPING_BITS)
}

/// A rule with its tag, never 0; `None` if it does not fit.
pub(super) fn pack<const MAPPING_BITS: u32>(tag: u64, rule: Rule) -> Option<u64> {
    let (from_bp, cfa, saved_bp) = match rule.step {
        Step::FromSp { cfa, saved_bp } => (0, cfa, saved_bp),
        Step::FromBp { cfa, saved_bp } => (FROM_BP, cfa, saved_bp),
        _ => return None,
    };
    let none = none(MAPPING_BITS);
    let mapping = match rule.mapping {
        NO_MAPPING => none,
        mapping => Some(mapping).filter(|mapping| *mapping < none)?,
    };
    // Hand-written code may have others.
    if cfa % 8 != 0 || saved_bp.is_some_and(|offset| offset % 8 != 0) {
        return None;
    }
    let cfa = u64::try_from(cfa / 8).ok().filter(|words| (1..1 << SAVED_AT).contains(words))?;
    let saved = match saved_bp {
        Some(offset) => u64::try_from(offset / -8).ok().filter(|words| (1..15).contains(words))?,
        None => SAME_BP,
    };
    let word = cfa | saved << SAVED_AT | from_bp | u64::from(mapping) << MAPPING_AT;
    let tag_at = MAPPING_AT.wrapping_add(MAPPING_BITS);
    Some(word | Some(tag).filter(|tag| *tag < 1 << (64 - tag_at))? << tag_at)
}

/// The rule of a word; `None` for 0.
#[inline(always)]
pub(super) fn unpack<const MAPPING_BITS: u32>(word: u64) -> Option<Rule> {
    let cfa = (word as u32 & ((1 << SAVED_AT) - 1)).wrapping_mul(8) as i32;
    if cfa == 0 {
        return None;
    }
    let saved = (word >> SAVED_AT) & 15;
    let saved_bp = (saved != SAME_BP).then(|| (saved as i32).wrapping_mul(-8));
    let none = none(MAPPING_BITS);
    let mapping = (word >> MAPPING_AT) as u32 & none;
    let mapping = if mapping == none { NO_MAPPING } else { mapping };
    let step = match word & FROM_BP {
        0 => Step::FromSp { cfa, saved_bp },
        _ => Step::FromBp { cfa, saved_bp },
    };
    Some(Rule { step, mapping })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_what_was_packed_and_the_rest_does_not_fit() {
        let rule = |cfa, saved_bp| Rule { step: Step::FromSp { cfa, saved_bp }, mapping: 700 };
        let back = |rule: Rule| pack::<10>(5, rule).and_then(unpack::<10>);
        for fits in [rule(8, None), rule(32_760, Some(-8)), rule(16, Some(-112))] {
            assert_eq!(back(fits), Some(fits));
            assert_eq!(pack::<10>(5, fits).map(tag_of::<10>), Some(5));
        }
        let odd = [rule(12, None), rule(16, Some(-12))];
        let large = [rule(32_768, None), rule(16, Some(-120)), rule(0, None), rule(16, Some(8))];
        let others = [Step::Root, Step::Signal].map(|step| Rule { step, mapping: 1 });
        let objects = Rule { mapping: 1023, ..rule(8, None) };
        for other in odd.into_iter().chain(large).chain(others).chain([objects]) {
            assert_eq!(pack::<10>(5, other), None, "{other:?}");
        }
        assert_eq!(pack::<10>(1 << 37, rule(8, None)), None, "an address of 49 bits");
        assert_eq!(unpack::<10>(0), None);
    }
}
