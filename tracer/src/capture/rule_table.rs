//! Rules by address, for all threads: filled at the first sight of an address, read ever after.
//!
//! Lines of eight words ([`packed_rule`]), each of which is a rule with its address, so that no reader sees half of one. A full line
//! forgets one of its rules. What does not fit is in a table by itself.

use core::sync::atomic::{AtomicU64, Ordering};

use super::packed_rule::{self, tag_of};
use super::rare_rules::RareRules;
use super::rule::Rule;
use crate::system_call;

const WAYS: usize = 8;
const INDEX_BITS: u32 = 15;
const LINES: usize = 1 << INDEX_BITS;
const MAPPING_BITS: u32 = 13;

#[repr(C, align(64))]
struct Line([AtomicU64; WAYS]);

/// The table: 2 MiB, and the rare ones.
#[derive(Debug)]
pub(crate) struct RuleTable {
    lines: *mut Line,
    rare: RareRules,
}

// SAFETY: the array stays mapped for ever and is used through atomics only.
unsafe impl Sync for RuleTable {}
// SAFETY: as above.
unsafe impl Send for RuleTable {}

/// In which line an address is looked for, and what of it is compared there: together they are all of it.
#[inline(always)]
fn place(key: u64) -> (usize, u64) {
    let tag = key >> INDEX_BITS;
    let index = key ^ tag.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - INDEX_BITS);
    (index as usize % LINES, tag)
}

impl RuleTable {
    /// An empty table; `None` if there is no memory for it.
    pub(crate) fn new() -> Option<Self> {
        let lines = system_call::map_private(LINES * size_of::<Line>()).ok()?;
        Some(Self { lines: lines.cast(), rare: RareRules::new()? })
    }

    #[inline(always)]
    fn line(&self, index: usize) -> &[AtomicU64; WAYS] {
        // SAFETY: below the array's length; zeros are empty entries.
        unsafe { &(*self.lines.wrapping_add(index % LINES)).0 }
    }

    /// The rule of an address, if it was seen before.
    #[inline(always)]
    pub(crate) fn find(&self, key: u64) -> Option<Rule> {
        let (index, tag) = place(key);
        for entry in self.line(index) {
            // Acquire: who sees a rule sees the object that it names.
            let word = entry.load(Ordering::Acquire);
            if tag_of::<MAPPING_BITS>(word) == tag
                && let Some(rule) = packed_rule::unpack::<MAPPING_BITS>(word)
            {
                return Some(rule);
            }
        }
        self.rare.find(key)
    }

    /// Keeps a rule. The key is not 0.
    pub(crate) fn insert(&self, key: u64, rule: Rule) {
        let (index, tag) = place(key);
        let Some(word) = packed_rule::pack::<MAPPING_BITS>(tag, rule) else {
            return self.rare.insert(key, rule);
        };
        let line = self.line(index);
        let has_room = |entry: &&AtomicU64| {
            let known = entry.load(Ordering::Relaxed);
            known == 0 || tag_of::<MAPPING_BITS>(known) == tag
        };
        if let Some(entry) = line.iter().find(has_room).or_else(|| line.get(tag as usize % WAYS)) {
            // Release: pairs with the acquire in `find`. Whoever wrote here meanwhile finds its rule again next time.
            entry.store(word, Ordering::Release);
        }
    }

    /// Forgets all rules of an object.
    pub(crate) fn forget_mapping(&self, mapping: u32) {
        for index in 0..LINES {
            for entry in self.line(index) {
                // Relaxed, here and below: whoever must see this sees a new generation of the objects first.
                let word = entry.load(Ordering::Relaxed);
                let rule = packed_rule::unpack::<MAPPING_BITS>(word);
                if rule.is_some_and(|rule| rule.mapping == mapping) {
                    // Another rule that came meanwhile stays.
                    let _ = entry.compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed);
                }
            }
        }
        self.rare.forget_mapping(mapping);
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::Step;
    use super::*;

    /// Of any kind, and of few objects.
    fn rule_of(key: u64) -> Rule {
        let cfa = (key % 1000) as i32 * 40 - 80;
        let saved_bp = (!key.is_multiple_of(3)).then_some((key % 20) as i32 * -8);
        let step = match key % 7 {
            0 => Step::Realigned { cfa, saved_bp: 8 },
            1 => Step::Root,
            2 => Step::FromBp { cfa, saved_bp },
            _ => Step::FromSp { cfa, saved_bp },
        };
        Rule { step, mapping: (key % 9000) as u32 }
    }

    #[test]
    fn threads_that_share_the_table_never_see_a_wrong_rule() {
        // Fewer where Miri interprets it, which tries orders of its own.
        let (rounds, keys) = if cfg!(miri) { (60u64, 12) } else { (400_000, 700_000) };
        let table = RuleTable::new().unwrap();
        let found = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for seed in 1..5u64 {
                let (table, found) = (&table, &found);
                scope.spawn(move || {
                    for round in 1..rounds {
                        let mix = (round * seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                        // A few libraries, and addresses that a signal interrupted.
                        let library = (mix >> 61) << 31;
                        let interrupted = ((mix >> 60) & 1) << 63;
                        let key = (mix % keys + library + 1) | interrupted;
                        match table.find(key) {
                            Some(rule) => {
                                assert_eq!(rule, rule_of(key), "{key:#x}");
                                found.fetch_add(1, Ordering::Relaxed);
                            }
                            None => table.insert(key, rule_of(key)),
                        }
                    }
                });
            }
        });
        assert!(cfg!(miri) || found.into_inner() > 1_000);
    }

    #[test]
    fn what_was_inserted_is_found_until_its_line_is_full() {
        let table = RuleTable::new().unwrap();
        let keys = || (0..60_000u64).map(|at| 0x7F12_3456_7000 + at * 11);
        let rule_of = |key: u64| Rule {
            step: Step::FromSp { cfa: (1 + key % 9) as i32 * 8, saved_bp: Some(-16) },
            mapping: 3,
        };
        keys().for_each(|key| table.insert(key, rule_of(key)));
        let found = keys().filter(|key| table.find(*key) == Some(rule_of(*key))).count();
        assert!(found > 59_000, "{found}");
    }

    #[test]
    fn an_unloaded_object_leaves_no_rules() {
        let table = RuleTable::new().unwrap();
        for step in [Step::Root, Step::FromSp { cfa: 16, saved_bp: None }] {
            let rule = |mapping| Rule { step, mapping };
            table.insert(10, rule(1));
            table.insert(20, rule(2));
            table.forget_mapping(1);
            assert_eq!(table.find(10), None);
            assert_eq!(table.find(20), Some(rule(2)));
        }
    }
}
