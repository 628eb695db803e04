//! The rules that a thread used last, so that most steps never reach the table of all threads.
//!
//! That one spreads over two megabytes: a look-up there waits for memory. This is 64 KiB, a word for each
//! ([`packed_rule`]). Rules that do not fit into so little stay in the table alone.

use core::sync::atomic::{Ordering, compiler_fence};

use super::packed_rule::{self, tag_of};
use super::rule::Rule;

const INDEX_BITS: u32 = 12;
const SETS: usize = 1 << INDEX_BITS;
/// Of so many parts of the cache it is known whether anything is in them: pages, which are not in memory before.
const PARTS: usize = u16::BITS as usize;
const MAPPING_BITS: u32 = 10;

/// Sets of two, by address. All zeros is valid and empty: a frame has at least the return address.
#[derive(Debug)]
pub(crate) struct RuleCache {
    sets: [[u64; 2]; SETS],
    /// The parts with anything in them, a bit for each.
    used: u16,
}

/// Where an address is looked for, and what of it is compared there: together they are all of it.
#[inline(always)]
fn place(address: u64) -> (usize, u64) {
    let tag = address >> INDEX_BITS;
    let index = address ^ tag ^ (tag >> INDEX_BITS);
    (index as usize % SETS, tag)
}

impl RuleCache {
    /// The rule of a return address, if it was used lately.
    #[inline(always)]
    pub(super) fn find(&self, address: u64) -> Option<Rule> {
        let (index, tag) = place(address);
        let [first, second] = *self.sets.get(index)?;
        let known = if tag_of::<MAPPING_BITS>(first) == tag {
            first
        } else if tag_of::<MAPPING_BITS>(second) == tag {
            second
        } else {
            return None;
        };
        packed_rule::unpack::<MAPPING_BITS>(known)
    }

    /// Remembers a rule that the table has.
    #[inline(always)]
    pub(super) fn remember(&mut self, address: u64, rule: Rule) {
        let (index, tag) = place(address);
        if let Some(packed) = packed_rule::pack::<MAPPING_BITS>(tag, rule)
            && let Some(set) = self.sets.get_mut(index)
        {
            // Before the rule is there: a signal handler may jump out of this, and what is there must be known of.
            self.used |= 1 << (index / (SETS / PARTS));
            compiler_fence(Ordering::SeqCst);
            *set = [packed, set[0]];
        }
    }

    /// Forgets everything: an object was unloaded.
    pub(super) fn forget(&mut self) {
        for (part, sets) in self.sets.chunks_exact_mut(SETS / PARTS).enumerate() {
            if self.used >> part & 1 == 1 {
                sets.fill([0; 2]);
            }
        }
        // After they are gone, as above.
        compiler_fence(Ordering::SeqCst);
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::super::objects::NO_MAPPING;
    use super::super::rule::Step;
    use super::*;

    #[test]
    fn a_rule_that_is_found_is_the_one_that_was_remembered_for_the_address() {
        // SAFETY: zeros are a valid, empty cache.
        let mut cache: Box<RuleCache> = Box::new(unsafe { core::mem::zeroed() });
        let mut seed = 1u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let rule_of = |address: u64| {
            let mix = address.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
            let cfa = (mix % 5000) as i32 * 8 - 80;
            let saved_bp = (!mix.is_multiple_of(3)).then_some((mix % 20) as i32 * -8 + 8);
            let step = match mix % 7 {
                0 => Step::Root,
                1 => Step::Realigned { cfa, saved_bp: 0 },
                2 | 3 => Step::FromBp { cfa, saved_bp },
                _ => Step::FromSp { cfa, saved_bp },
            };
            let mapping = if mix.is_multiple_of(11) { NO_MAPPING } else { (mix % 1100) as u32 };
            Rule { step, mapping }
        };
        let mut found = 0;
        for _ in 0..if cfg!(miri) { 2_000 } else { 400_000 } {
            // Of a few libraries, and now and then of anywhere.
            let address = match random(50) {
                0 => random(1 << 31) << 17 | random(1 << 17),
                library => 0x7F00_0000_0000 + library * 0x1234_5000 + random(100) * 5,
            };
            match cache.find(address) {
                Some(rule) => {
                    assert_eq!(rule, rule_of(address), "{address:#x}");
                    found += 1;
                }
                None => cache.remember(address, rule_of(address)),
            }
        }
        assert!(found > 500, "{found}");
        cache.forget();
        let of_libraries =
            (0..50 * 500).map(|at| 0x7F00_0000_0000 + at / 500 * 0x1234_5000 + at % 500);
        assert!(of_libraries.into_iter().all(|address| cache.find(address).is_none()));
        assert_eq!(cache.find(0), None);
    }
}
