//! When a temporary that is folded is worth an event: what is only counted has no time, and from times it is known how
//! often a line of the program ran in a while.
//!
//! Of a kind that comes again there are about eight such events for each time that its number doubles, so that their
//! number follows that of kinds and not the time. Kinds take turns: not all have theirs in the same call.

/// What comes less often is not told from what is done once.
const FEWEST: u64 = 8;
/// At most so many of a kind are folded between two of its events, while it is rare.
const CLOSEST: u64 = 4;
/// Later, this share of how often it was.
const SHARE_BITS: u32 = 3;

/// How many of a kind an event should stand for, if there should be one, now that it was folded for the `count`th time.
#[inline(always)]
pub(super) fn stands_for(hash: u64, count: u64) -> Option<u64> {
    // Other bits of the hash say in which page and where in it.
    let turn = count ^ (hash >> 48);
    // Most end here.
    if turn & (CLOSEST - 1) != 0 || count < FEWEST {
        return None;
    }
    let step = ((1 << count.ilog2()) >> SHARE_BITS).max(CLOSEST);
    if turn & (step - 1) != 0 {
        return None;
    }
    // The first one stands for those before it, too.
    Some(if count < FEWEST + CLOSEST { count } else { step })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes() -> impl Iterator<Item = u64> {
        (1..500u64).map(|key| key.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn events(hash: u64, most: u64) -> Vec<(u64, u64)> {
        (1..=most).filter_map(|count| Some((count, stands_for(hash, count)?))).collect()
    }

    #[test]
    fn events_stand_for_as_many_as_there_were() {
        for most in [12, 20, 64, 300, 2_000] {
            for hash in hashes() {
                let known: u64 = events(hash, most).iter().map(|(_, count)| count).sum();
                assert!(known.abs_diff(most) <= 3.max(most / 5), "{known} of {most}");
            }
            let known = hashes().flat_map(|hash| events(hash, most)).map(|(_, count)| count);
            let mean = known.sum::<u64>() as f64 / hashes().count() as f64;
            assert!((mean / most as f64 - 1.0).abs() < 0.15, "{mean} of {most}");
        }
    }

    #[test]
    fn what_is_rare_has_none_and_what_is_frequent_few() {
        assert!(hashes().all(|hash| events(hash, FEWEST - 1).is_empty()));
        let of_one = |most: u64| hashes().take(4).map(|hash| events(hash, most).len()).max();
        assert!(of_one(1 << 10) <= Some(50), "{:?}", of_one(1 << 10));
        assert!(of_one(1 << 20) <= Some(140), "{:?}", of_one(1 << 20));
    }

    #[test]
    fn kinds_take_turns() {
        let mut by_call = [0; 256];
        for (count, _) in hashes().flat_map(|hash| events(hash, 511)).filter(|it| it.0 >= 256) {
            by_call[count as usize % 256] += 1;
        }
        let expected = hashes().count() / 32;
        assert!(by_call.iter().all(|events| *events < 4 * expected));
        assert!(by_call.iter().filter(|events| **events == 0).count() < 8);
    }
}
