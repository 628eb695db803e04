//! Numbers of variable length in columns: those that say the same of each entry stand together, where LZ4 finds more
//! that comes again.
//!
//! ```text
//! the thread's number   the kernel's id of it   how many bytes each column but the last has   the columns
//! ```

use crate::page_codec::PageThread;
use crate::varint::{Reader, Writer};

/// What stands before the columns has no more bytes.
const HEAD: usize = 64;

/// Writes columns into `room`, each of which gets its share of it: the most bytes that it takes of an entry.
///
/// Gives the bytes written, or `None` if there is not that much room, or `fill` fails.
pub(crate) fn write<const N: usize>(
    thread: PageThread,
    shares: [usize; N],
    room: &mut [u8],
    fill: impl FnOnce(&mut [Writer<'_>; N]) -> Option<()>,
) -> Option<usize> {
    let entries = room.len().checked_sub(HEAD)? / shares.iter().sum::<usize>().max(1);
    let sizes = shares.map(|share| share.saturating_mul(entries));
    let mut rest = room.get_mut(HEAD..)?;
    let mut columns = sizes.map(|size| {
        let (column, others) =
            core::mem::take(&mut rest).split_at_mut_checked(size).unwrap_or_default();
        rest = others;
        Writer::new(column)
    });
    fill(&mut columns)?;
    let mut lens = [0; N];
    for (len, column) in lens.iter_mut().zip(columns) {
        *len = column.finish()?;
    }
    let mut head = [0; HEAD];
    let mut out = Writer::new(&mut head);
    thread.write(&mut out);
    for &len in lens.get(..N.checked_sub(1)?)? {
        out.number(len as u64);
    }
    let mut end = out.finish()?;
    crate::page::put(room, 0, head.get(..end)?)?;
    let mut start = HEAD;
    for (size, len) in sizes.into_iter().zip(lens) {
        let column = start..start.checked_add(len)?;
        room.get(column.clone())?;
        room.copy_within(column, end);
        (start, end) = (start.checked_add(size)?, end.checked_add(len)?);
    }
    Some(end)
}

/// What [`write`] wrote.
pub(crate) fn read<const N: usize>(bytes: &[u8]) -> Option<(PageThread, [Reader<'_>; N])> {
    let mut input = Reader::new(bytes);
    let thread = PageThread::read(&mut input)?;
    let mut lens = [0; N];
    for len in lens.get_mut(..N.checked_sub(1)?)? {
        *len = usize::try_from(input.number()?).ok()?;
    }
    let before = lens.iter().try_fold(0usize, |sum, len| sum.checked_add(*len))?;
    *lens.last_mut()? = input.len().checked_sub(before)?;
    let mut columns = [const { Reader::new(&[]) }; N];
    for (column, len) in columns.iter_mut().zip(lens) {
        *column = Reader::new(input.take(len)?);
    }
    Some((thread, columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREAD: PageThread = PageThread { number: u32::MAX, tid: u32::MAX };

    fn write_three(room: &mut [u8], numbers: &[u64]) -> Option<usize> {
        write(THREAD, [1, 10, 2], room, |[bytes, large, small]| {
            for &number in numbers {
                bytes.byte(number as u8);
                large.number(number);
                small.number(number % 16_384);
            }
            Some(())
        })
    }

    #[test]
    fn columns_come_back_as_they_were_written_and_no_piece_of_them_is_taken_for_all() {
        let numbers: Vec<u64> = (0..200).map(|number| u64::MAX >> (number % 60)).collect();
        let mut room = vec![0xEE; HEAD + 200 * 13];
        let len = write_three(&mut room, &numbers).unwrap();
        let (thread, [mut bytes, mut large, mut small]) = read(&room[..len]).unwrap();
        assert_eq!(thread, THREAD);
        for &number in &numbers {
            assert_eq!(bytes.byte(), Some(number as u8));
            assert_eq!(large.number(), Some(number));
            assert_eq!(small.number(), Some(number % 16_384));
        }
        assert!(bytes.is_empty() && large.is_empty() && small.is_empty());
        for cut in 0..len {
            let whole = read::<3>(&room[..cut])
                .is_some_and(|(_, [.., mut small])| (0..200).all(|_| small.number().is_some()));
            assert!(!whole, "{cut}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let numbers = [u64::MAX; 8];
        let mut room = [0; HEAD + 8 * 13];
        assert!(write_three(&mut room, &numbers).is_some());
        assert_eq!(write_three(&mut room[1..], &numbers), None);
        assert_eq!(write_three(&mut room[..HEAD - 1], &[]), None);
        assert_eq!(write::<1>(THREAD, [1], &mut room, |_| None), None);
    }

    #[test]
    fn lengths_that_make_no_sense_are_refused() {
        assert!(read::<2>(&[1, 1, 2, 7, 7, 9]).is_some());
        assert!(read::<2>(&[1, 1, 4, 7, 7, 9]).is_none(), "longer than all");
        let mut huge = [0xFF; 24];
        (huge[0], huge[1]) = (1, 1);
        huge[11] = 1;
        huge[21] = 1;
        assert!(read::<3>(&huge).is_none(), "their sum is no number");
    }
}
