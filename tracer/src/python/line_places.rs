//! Location tables of CPython 3.11 and later (`Objects/locations.md`) without columns: of an instruction only the line is
//! shown. What is left is such a table too, of a third to a quarter of the bytes.
//!
//! Entries begin with a byte whose highest bit is set: four bits of kind, three of length.

const HEAD: u8 = 0x80;
const KIND_AT: u32 = 3;
const NO_LOCATION: u8 = 15;
const LONG: u8 = 14;
const NO_COLUMNS: u8 = 13;
const ONE_LINE: u8 = 10;
/// Instructions of an entry at most, in units of two bytes.
const MOST_UNITS: usize = 8;
/// By how many lines the kinds from `ONE_LINE` on go forward, as variable-length numbers with a sign.
const FORWARD: [&[u8]; 3] = [&[0], &[2], &[4]];

/// A table that says the same of lines, written into `room`. `None`: there is no room, or it is no such table.
pub(super) fn without_columns<'a>(table: &[u8], room: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut out = Out { room, len: 0 };
    let mut together: Option<Place<'_>> = None;
    let mut rest = table;
    while let Some((&head, behind)) = rest.split_first() {
        let len = behind.iter().take_while(|byte| **byte & HEAD == 0).count();
        let (entry, others) = behind.split_at_checked(len).filter(|_| head & HEAD != 0)?;
        rest = others;
        let change = match head >> KIND_AT & 15 {
            NO_LOCATION => None,
            LONG | NO_COLUMNS => Some(number(entry)?),
            kind => Some(*FORWARD.get(usize::from(kind.saturating_sub(ONE_LINE)))?),
        };
        let units = usize::from(head & 7).saturating_add(1);
        match &mut together {
            Some(before) if before.goes_on(change) => {
                before.units = before.units.saturating_add(units);
            }
            _ => {
                out.place(together.take())?;
                together = Some(Place { change, units });
            }
        }
    }
    out.place(together)?;
    out.room.get(..out.len)
}

/// The bytes of the number that is first here: all but the last have their seventh bit set.
fn number(bytes: &[u8]) -> Option<&[u8]> {
    let more = bytes.iter().take_while(|byte| **byte & 64 != 0).count();
    bytes.get(..more.checked_add(1)?)
}

/// Instructions of one line, or of none.
#[derive(Debug)]
struct Place<'a> {
    /// By how much that line differs from the one before, as in the table.
    change: Option<&'a [u8]>,
    units: usize,
}

impl Place<'_> {
    /// Whether what follows with this change is of the same line.
    fn goes_on(&self, change: Option<&[u8]>) -> bool {
        match change {
            Some(change) => self.change.is_some() && change == [0],
            None => self.change.is_none(),
        }
    }
}

struct Out<'a> {
    room: &'a mut [u8],
    len: usize,
}

impl Out<'_> {
    fn byte(&mut self, byte: u8) -> Option<()> {
        *self.room.get_mut(self.len)? = byte;
        self.len = self.len.checked_add(1)?;
        Some(())
    }

    fn place(&mut self, place: Option<Place<'_>>) -> Option<()> {
        let Some(Place { mut change, mut units }) = place else { return Some(()) };
        let kind = if change.is_some() { NO_COLUMNS } else { NO_LOCATION };
        while units != 0 {
            let here = units.min(MOST_UNITS);
            self.byte(HEAD | kind << KIND_AT | (here as u8).wrapping_sub(1))?;
            change.unwrap_or_default().iter().try_for_each(|&byte| self.byte(byte))?;
            change = change.map(|_| FORWARD[0]);
            units = units.saturating_sub(here);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line of every instruction of a table, from its definition.
    fn lines(table: &[u8]) -> Vec<Option<i64>> {
        let (mut line, mut lines) = (0i64, Vec::new());
        for entry in table.chunk_by(|_, next| next & HEAD == 0) {
            let kind = entry[0] >> 3 & 15;
            let value = || {
                let digits = entry[1..].iter().enumerate();
                let end = entry[1..].iter().position(|byte| byte & 64 == 0).unwrap();
                digits.take(end + 1).map(|(at, byte)| i64::from(byte & 63) << (6 * at)).sum::<i64>()
            };
            line += match kind {
                13 | 14 if value() & 1 == 1 => -(value() >> 1),
                13 | 14 => value() >> 1,
                10..=12 => i64::from(kind) - 10,
                _ => 0,
            };
            let of_entry = (kind != 15).then_some(line);
            lines.extend(std::iter::repeat_n(of_entry, usize::from(entry[0] & 7) + 1));
        }
        lines
    }

    #[test]
    fn every_instruction_keeps_its_line_and_no_table_grows() {
        let mut seed = 1u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let (mut before, mut after) = (0, 0);
        for _ in 0..2_000 {
            let mut table = Vec::new();
            for _ in 0..random(60) {
                // Mostly short ones, as compilers make them.
                let kind = if random(3) == 0 { random(16) as u8 } else { random(10) as u8 };
                table.push(HEAD | kind << 3 | random(8) as u8);
                let numbers: &[u64] = match kind {
                    15 => &[],
                    14 => &[300, 20, 100, 5000],
                    13 => &[70],
                    10..=12 => &[64, 64],
                    _ => &[64],
                };
                for &below in numbers {
                    let mut value = random(below);
                    while value >= 64 {
                        table.push(64 | (value & 63) as u8);
                        value >>= 6;
                    }
                    table.push(value as u8);
                }
            }
            let mut room = vec![0; table.len()];
            let made = without_columns(&table, &mut room).unwrap();
            assert_eq!(lines(made), lines(&table), "{table:02x?}");
            before += table.len();
            after += made.len();
        }
        assert!(after * 3 < before * 2, "{after} of {before}");
    }

    #[test]
    fn what_is_no_table_or_has_no_room_is_left_alone() {
        assert_eq!(without_columns(&[], &mut []), Some(&[][..]));
        assert_eq!(without_columns(&[5, HEAD], &mut [0; 9]), None, "it begins in an entry");
        let long = HEAD | LONG << 3;
        assert_eq!(without_columns(&[long, 64], &mut [0; 9]), None, "its number does not end");
        assert_eq!(without_columns(&[HEAD, 3, long, 2], &mut [0; 3]), None, "no room");
    }
}
