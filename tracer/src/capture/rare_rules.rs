//! Rules that do not fit into one word with their address: of realigned frames and very large ones, of roots, of addresses
//! that a signal interrupted, and of code of which nothing is known.
//!
//! Sets of four entries, one cache line each. Lock-free: an entry has no key while its rule
//! changes, and a reader looks at the key before and after. A full set forgets one of its entries.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use super::rule::Rule;
use crate::system_call;

const WAYS: usize = 4;
const SETS: usize = 1 << 12;
/// The key of an entry that is being written.
const BUSY: u64 = u64::MAX;

#[repr(C, align(64))]
struct Set([Entry; WAYS]);

#[repr(C)]
struct Entry {
    key: AtomicU64,
    rule: AtomicU64,
}

/// The table, of 256 KiB.
#[derive(Debug)]
pub(super) struct RareRules(*mut Set);

// SAFETY: the array stays mapped for ever and is used through atomics only.
unsafe impl Sync for RareRules {}
// SAFETY: as above.
unsafe impl Send for RareRules {}

#[inline(always)]
fn mix(key: u64) -> u64 {
    key.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl RareRules {
    /// An empty table; `None` if there is no memory for it.
    pub(super) fn new() -> Option<Self> {
        system_call::map_private(SETS * size_of::<Set>()).ok().map(|at| Self(at.cast()))
    }

    #[inline(always)]
    fn set(&self, key: u64) -> &[Entry; WAYS] {
        let index = (mix(key) >> 48) as usize % SETS;
        // SAFETY: below the array's length; zeros are empty entries.
        unsafe { &(*self.0.wrapping_add(index)).0 }
    }

    /// The rule of an address, if it was seen before.
    #[inline(always)]
    pub(super) fn find(&self, key: u64) -> Option<Rule> {
        for entry in self.set(key) {
            // Acquire: pairs with the release of the key in `insert`.
            if entry.key.load(Ordering::Acquire) == key {
                let rule = entry.rule.load(Ordering::Relaxed);
                // The key is looked at again after the rule: this keeps the order.
                fence(Ordering::Acquire);
                if entry.key.load(Ordering::Relaxed) == key {
                    return Some(Rule::unpack(rule));
                }
            }
        }
        None
    }

    /// Keeps a rule. The key is not 0.
    pub(super) fn insert(&self, key: u64, rule: Rule) {
        let set = self.set(key);
        let empty = set.iter().find(|entry| entry.key.load(Ordering::Relaxed) == 0);
        let victim = (mix(key) >> 40) as usize % WAYS;
        let Some(entry) = empty.or_else(|| set.get(victim)) else { return };
        let old = entry.key.load(Ordering::Relaxed);
        // Acquire: the rule is stored after the entry is this thread's. Another thread that wants
        // the same entry gives up: it finds the rule again next time.
        if old == BUSY
            || entry.key.compare_exchange(old, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return;
        }
        // The key is changed before the rule: this keeps the order.
        fence(Ordering::Release);
        entry.rule.store(rule.pack(), Ordering::Relaxed);
        // Release: pairs with the acquire in `find`.
        entry.key.store(key, Ordering::Release);
    }

    /// Forgets all rules of an object.
    pub(super) fn forget_mapping(&self, mapping: u32) {
        for index in 0..SETS {
            // SAFETY: below the array's length.
            for entry in unsafe { &(*self.0.wrapping_add(index)).0 } {
                let key = entry.key.load(Ordering::Acquire);
                if key != 0
                    && key != BUSY
                    && Rule::unpack(entry.rule.load(Ordering::Relaxed)).mapping == mapping
                {
                    let _ = entry.key.compare_exchange(key, 0, Ordering::AcqRel, Ordering::Relaxed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::Step;
    use super::*;

    #[test]
    fn threads_that_share_the_table_never_see_a_wrong_rule() {
        // Fewer where Miri interprets it, which tries orders of its own.
        let (rounds, keys) = if cfg!(miri) { (60u64, 12) } else { (400_000, 700_000) };
        let table = RareRules::new().unwrap();
        let rule_of = |key: u64| Rule {
            step: Step::FromSp { cfa: (key % 1000) as i32 * 8, saved_bp: None },
            mapping: (key % 77) as u32,
        };
        std::thread::scope(|scope| {
            for seed in 1..5u64 {
                let table = &table;
                scope.spawn(move || {
                    for round in 1..rounds {
                        let key = mix(round * seed) % keys + 1;
                        match table.find(key) {
                            Some(rule) => assert_eq!(rule, rule_of(key)),
                            None => table.insert(key, rule_of(key)),
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn an_unloaded_object_leaves_no_rules() {
        let table = RareRules::new().unwrap();
        let rule = |mapping| Rule { step: Step::Root, mapping };
        table.insert(10, rule(1));
        table.insert(20, rule(2));
        table.forget_mapping(1);
        assert_eq!(table.find(10), None);
        assert_eq!(table.find(20), Some(rule(2)));
    }
}
