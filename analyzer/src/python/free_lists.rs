//! Free lists of CPython's: what a tuple, list, dict or float leaves behind is given to the next one without a call of
//! the allocator. Its memory is then still that of whoever made the first.
//!
//! What keeps one such object for each request so makes some other line, which finds the list empty, ask for a new
//! one: often one that only needs it for a moment.

use tftrace_format::Domain;

/// `PyFloatObject`.
const FLOAT: u64 = 24;
/// What the cycle collector has in front of an object.
const COLLECTED: u64 = 16;
/// `PyTupleObject` of no items, and the most items of one that a free list takes.
const TUPLE: u64 = COLLECTED + 24;
const MOST_ITEMS: u64 = 20;
const ITEM: u64 = 8;

/// Whether a block may be an object of a kind that has free lists, by its size: floats, and tuples of one item or more,
/// as large as some of which are lists (56 bytes) and dicts (64). The sizes are those of CPython 3.9 to 3.13.
pub fn may_pass_on(domain: Domain, size: u64) -> bool {
    let is_tuple =
        size.is_multiple_of(ITEM) && (TUPLE + ITEM..=TUPLE + MOST_ITEMS * ITEM).contains(&size);
    domain == Domain::Python && (size == FLOAT || is_tuple)
}

/// How many objects of such a size CPython keeps for reuse at most.
pub fn most_idle(size: u64) -> u64 {
    const LIST: u64 = COLLECTED + 40;
    const DICT: u64 = COLLECTED + 48;
    const MOST_FLOATS: u64 = 100;
    const MOST_TUPLES: u64 = 2_000;
    const MOST_OTHERS: u64 = 80;
    match size {
        FLOAT => MOST_FLOATS,
        LIST | DICT => MOST_TUPLES + MOST_OTHERS,
        _ => MOST_TUPLES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_with_free_lists_are_known_by_their_size() {
        let known = [24, 48, 56, 64, 200];
        assert!(known.iter().all(|size| may_pass_on(Domain::Python, *size)));
        assert!([16, 28, 32, 40, 57, 208].iter().all(|size| !may_pass_on(Domain::Python, *size)));
        assert!(!may_pass_on(Domain::Malloc, 56));
        assert_eq!([24, 48, 56, 64, 200].map(most_idle), [100, 2000, 2080, 2080, 2000]);
    }
}
