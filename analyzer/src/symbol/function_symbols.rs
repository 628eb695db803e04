//! Finds the function symbol around each of some addresses, in one pass over a symbol table.
//!
//! Nothing is kept of the other symbols, and no name is read before it is needed: a table with
//! 1.2 million entries costs one look at each.

use object::{Object, ObjectSymbol, ObjectSymbolTable, SymbolIndex, SymbolKind};

/// A symbol that was found: where it begins, and its number in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    start: u64,
    symbol: usize,
}

/// The candidates for each address, which are sorted.
struct Search<'a> {
    addresses: &'a [u64],
    /// The innermost symbol whose size covers the address.
    covering: Vec<Option<Candidate>>,
    /// The last symbol before the address whose size is unknown.
    sizeless: Vec<Option<Candidate>>,
    /// Where the last symbol with a size before the address begins.
    sized_start: Vec<Option<u64>>,
}

impl<'a> Search<'a> {
    fn new(addresses: &'a [u64]) -> Self {
        let count = addresses.len();
        Self {
            addresses,
            covering: vec![None; count],
            sizeless: vec![None; count],
            sized_start: vec![None; count],
        }
    }

    fn see(&mut self, start: u64, size: u64, symbol: usize) {
        let first = self.addresses.partition_point(|&address| address < start);
        let Some(&address) = self.addresses.get(first) else { return };
        let candidate = Candidate { start, symbol };
        if size == 0 {
            // The first address after it is enough: `finish` hands it on to later ones.
            replace_if_later(&mut self.sizeless[first], candidate);
            return;
        }
        self.sized_start[first] = self.sized_start[first].max(Some(start));
        let end = start.saturating_add(size);
        if address >= end {
            return;
        }
        let covered = self.addresses[first..].partition_point(|&address| address < end);
        for slot in &mut self.covering[first..first + covered] {
            replace_if_later(slot, candidate);
        }
    }

    fn finish(mut self) -> Vec<Option<usize>> {
        let (mut sizeless, mut sized_start) = (None::<Candidate>, None);
        for at in 0..self.addresses.len() {
            if let Some(candidate) = self.sizeless[at].take() {
                sizeless = Some(candidate);
            }
            sized_start = sized_start.max(self.sized_start[at]);
            // A symbol without a size reaches to the next symbol, and no further.
            let reaching = sizeless
                .filter(|candidate| sized_start.is_none_or(|start| candidate.start > start));
            self.sizeless[at] = reaching;
        }
        let found = self.covering.into_iter().zip(self.sizeless);
        found.map(|(covering, sizeless)| covering.or(sizeless).map(|found| found.symbol)).collect()
    }
}

/// Of two that cover an address the later one is the inner one; of equals the first is kept.
fn replace_if_later(slot: &mut Option<Candidate>, candidate: Candidate) {
    if slot.is_none_or(|kept| kept.start < candidate.start) {
        *slot = Some(candidate);
    }
}

/// The name of the function around each address; `None` where the file's tables know none.
///
/// `addresses` are sorted. `.symtab` is asked first, `.dynsym` for what is left.
pub(super) fn function_names<'data>(
    file: &object::File<'data>,
    addresses: &[u64],
) -> Vec<Option<&'data [u8]>> {
    let mut names = vec![None; addresses.len()];
    for table in [file.symbol_table(), file.dynamic_symbol_table()].into_iter().flatten() {
        let missing: Vec<usize> = (0..names.len()).filter(|&at| names[at].is_none()).collect();
        if missing.is_empty() {
            break;
        }
        let wanted: Vec<u64> = missing.iter().map(|&at| addresses[at]).collect();
        let mut search = Search::new(&wanted);
        for symbol in table.symbols() {
            if symbol.kind() == SymbolKind::Text && !symbol.is_undefined() {
                search.see(symbol.address(), symbol.size(), symbol.index().0);
            }
        }
        for (&at, found) in missing.iter().zip(search.finish()) {
            let symbol = found.and_then(|index| table.symbol_by_index(SymbolIndex(index)).ok());
            let name = symbol.and_then(|symbol| symbol.name_bytes().ok());
            names[at] = name.filter(|name| !name.is_empty());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(addresses: &[u64], symbols: &[(u64, u64)]) -> Vec<Option<usize>> {
        let mut search = Search::new(addresses);
        for (index, &(start, size)) in symbols.iter().enumerate() {
            search.see(start, size, index);
        }
        search.finish()
    }

    #[test]
    fn a_symbol_covers_its_size_and_no_more() {
        let symbols = [(100, 50), (200, 10)];
        assert_eq!(
            found(&[99, 100, 149, 150, 200, 209, 210], &symbols),
            [None, Some(0), Some(0), None, Some(1), Some(1), None]
        );
    }

    #[test]
    fn the_innermost_of_nested_symbols_is_taken_in_any_order() {
        assert_eq!(found(&[110, 125, 140], &[(100, 50), (120, 10)]), [Some(0), Some(1), Some(0)]);
        assert_eq!(found(&[110, 125, 140], &[(120, 10), (100, 50)]), [Some(1), Some(0), Some(1)]);
    }

    #[test]
    fn a_symbol_without_a_size_reaches_to_the_next_symbol() {
        let symbols = [(100, 0), (200, 10), (300, 0)];
        assert_eq!(
            found(&[50, 120, 150, 205, 250, 301, 999], &symbols),
            [None, Some(0), Some(0), Some(1), None, Some(2), Some(2)]
        );
    }

    #[test]
    fn of_two_names_for_one_place_the_first_is_kept() {
        assert_eq!(found(&[100], &[(100, 8), (100, 8)]), [Some(0)]);
    }
}
