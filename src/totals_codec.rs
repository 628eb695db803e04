//! A page of totals as the payload of a chunk, before compression.

use crate::columns;
use crate::event::Domain;
use crate::ids::StackId;
use crate::page_codec::PageThread;
use crate::totals::{Temporaries, TemporaryKey};
use crate::varint::Reader;

const COLUMNS: usize = 4;
/// The most bytes that an entry takes in each column.
const SHARES: [usize; COLUMNS] = [1, 5, 10, 10];

/// Writes the thread and its temporaries. Gives the bytes written, or `None` if `room` is too small, of which an entry
/// takes 26 bytes meanwhile.
pub fn write_totals(
    thread: PageThread,
    entries: impl Iterator<Item = Temporaries>,
    room: &mut [u8],
) -> Option<usize> {
    columns::write(thread, SHARES, room, |[domains, stacks, sizes, counts]| {
        let mut last_stack = 0;
        for Temporaries { key, count } in entries {
            let stack = u64::from(StackId::to_wire(key.stack));
            domains.byte(key.domain as u8);
            stacks.difference(last_stack, stack);
            sizes.number(key.size);
            counts.number(count);
            last_stack = stack;
        }
        Some(())
    })
}

/// Reads what [`write_totals`] wrote; ends at the first entry that makes no sense.
#[derive(Clone, Debug)]
pub struct TotalsReader<'a> {
    columns: [Reader<'a>; COLUMNS],
    stack: u64,
    has_failed: bool,
}

impl<'a> TotalsReader<'a> {
    /// Reads the thread, and stands before the first entry.
    pub fn new(bytes: &'a [u8]) -> Option<(PageThread, Self)> {
        let (thread, columns) = columns::read(bytes)?;
        Some((thread, Self { columns, stack: 0, has_failed: false }))
    }

    /// Whether everything was read.
    pub fn is_finished(&self) -> bool {
        !self.has_failed && self.columns.iter().all(Reader::is_empty)
    }
}

impl Iterator for TotalsReader<'_> {
    type Item = Temporaries;

    fn next(&mut self) -> Option<Temporaries> {
        let [domains, ..] = &mut self.columns;
        let domain = domains.byte().filter(|_| !self.has_failed)?;
        let entry = self.behind(domain);
        self.has_failed = entry.is_none();
        entry
    }
}

impl TotalsReader<'_> {
    #[inline]
    fn behind(&mut self, domain: u8) -> Option<Temporaries> {
        let [_, stacks, sizes, counts] = &mut self.columns;
        let domain = Domain::from_wire(domain.into())?;
        self.stack = stacks.difference(self.stack)?;
        let (size, count) = (sizes.number()?, counts.number()?);
        let stack = StackId::new(u32::try_from(self.stack).ok()?);
        Some(Temporaries { key: TemporaryKey { stack, size, domain }, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_come_back_and_no_piece_of_them_is_taken_for_all() {
        let thread = PageThread { number: 3, tid: 400 };
        let entries: Vec<Temporaries> = (0..40u32)
            .map(|at| {
                let stack = StackId::new((at / 3).wrapping_mul(0x9E37_79B9) % 70_000);
                let (size, domain) = (u64::from(at) << (at % 24), Domain::Python);
                Temporaries { key: TemporaryKey { stack, size, domain }, count: 1 << at }
            })
            .collect();
        let mut room = vec![0; 64 + 40 * 26];
        let len = write_totals(thread, entries.iter().copied(), &mut room).unwrap();
        let (found, mut reader) = TotalsReader::new(&room[..len]).unwrap();
        assert_eq!((found, reader.by_ref().collect::<Vec<_>>()), (thread, entries.clone()));
        assert!(reader.is_finished());
        for cut in 0..len {
            let whole = TotalsReader::new(&room[..cut]).is_some_and(|(_, mut reader)| {
                reader.by_ref().count() == entries.len() && reader.is_finished()
            });
            assert!(!whole, "{cut}");
        }
        let unknown = [1, 1, 1, 0, 0, 9];
        let (_, mut reader) = TotalsReader::new(&unknown).unwrap();
        assert_eq!((reader.next(), reader.is_finished()), (None, false), "no such domain");
        let last = room.len() - 1;
        assert_eq!(write_totals(thread, entries.into_iter(), &mut room[..last]), None);
    }
}
