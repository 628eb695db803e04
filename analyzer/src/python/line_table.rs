//! The line of an instruction, from a code object's line table.
//!
//! Three formats: `co_lnotab` up to CPython 3.9 (`Objects/lnotab_notes.txt`), `co_linetable` of 3.10
//! (the same file, PEP 626), and the location table since 3.11 (`Objects/locations.md`).

use tftrace_format::reader::CodeObject;
use tftrace_format::record::LineTable;

/// The lines of a code object: read once for all of its instructions that are asked for.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// Where a range of instructions ends, and its line; in order.
    ranges: Vec<(i64, Option<i64>)>,
    /// In how many units of the table an instruction is counted.
    scale: i64,
}

impl Lines {
    /// The lines of this code object.
    pub fn of(code: &CodeObject) -> Self {
        let first = i64::from(code.first_line);
        let mut ranges = Vec::new();
        let scale = match code.line_table {
            LineTable::Lnotab => {
                lnotab(&code.lines, first, &mut ranges);
                2
            }
            LineTable::Pep626 => {
                pep_626(&code.lines, first, &mut ranges);
                2
            }
            LineTable::Locations => {
                locations(&code.lines, first, &mut ranges);
                1
            }
        };
        Self { ranges, scale }
    }

    /// The line of an instruction (in units of two bytes); `None` for one that has no line.
    pub fn line(&self, instruction: u32) -> Option<u32> {
        let wanted = i64::from(instruction) * self.scale;
        let at = self.ranges.partition_point(|(end, _)| *end <= wanted);
        u32::try_from(self.ranges.get(at)?.1?).ok()
    }
}

/// Pairs: bytes of code, then by how much the line changes after them.
fn lnotab(table: &[u8], first_line: i64, ranges: &mut Vec<(i64, Option<i64>)>) {
    let (mut line, mut end) = (first_line, 0);
    for pair in table.chunks_exact(2) {
        end += i64::from(pair[0]);
        ranges.push((end, Some(line)));
        line += i64::from(pair[1] as i8);
    }
    ranges.push((i64::MAX, Some(line)));
}

/// Pairs: bytes of code, and by how much their line differs from that of the pair before; -128 = no line.
fn pep_626(table: &[u8], first_line: i64, ranges: &mut Vec<(i64, Option<i64>)>) {
    let (mut line, mut end) = (first_line, 0);
    for pair in table.chunks_exact(2) {
        end += i64::from(pair[0]);
        let change = pair[1] as i8;
        if change != i8::MIN {
            line += i64::from(change);
        }
        ranges.push((end, (change != i8::MIN).then_some(line)));
    }
}

/// Entries that begin with a byte whose highest bit is set: four bits of kind, three of length.
fn locations(table: &[u8], first_line: i64, ranges: &mut Vec<(i64, Option<i64>)>) {
    const NO_LOCATION: u8 = 15;
    const LONG: u8 = 14;
    const NO_COLUMNS: u8 = 13;
    let (mut line, mut end) = (first_line, 0);
    for entry in table.chunk_by(|_, next| next & 0x80 == 0) {
        let Some((&head, rest)) = entry.split_first() else { return };
        end += i64::from(head & 7) + 1;
        let kind = head >> 3 & 15;
        // A damaged table may say anything.
        line = line.wrapping_add(match kind {
            LONG | NO_COLUMNS => signed_varint(rest),
            10..=12 => i64::from(kind) - 10,
            _ => 0,
        });
        ranges.push((end, (kind != NO_LOCATION).then_some(line)));
    }
}

/// Six bits to a byte, the lowest first; the lowest bit of all is the sign.
fn signed_varint(bytes: &[u8]) -> i64 {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 63) << (6 * index);
        if byte & 64 == 0 {
            break;
        }
    }
    let size = i64::try_from(value >> 1).unwrap_or(0);
    if value & 1 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line_table: LineTable, hex: &str) -> CodeObject {
        let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
        let lines = hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1]));
        let (name, file) = ("f".to_owned(), "f.py".to_owned());
        CodeObject { first_line: 1, name, file, line_table, lines: lines.collect() }
    }

    /// One function with a loop, a comprehension, a handler and lines that go back, as CPython
    /// compiled it: its table, and the lines that CPython itself says, from each instruction on.
    fn assert_lines(line_table: LineTable, hex: &str, expected: &[(u32, u32)], end: u32) {
        let lines = Lines::of(&code(line_table, hex));
        let starts = expected.iter().map(|(at, _)| *at);
        let ends = starts.skip(1).chain([end]);
        for ((from, line), to) in expected.iter().zip(ends) {
            for instruction in *from..to {
                let found = lines.line(instruction).unwrap_or(0);
                assert_eq!(found, *line, "{line_table:?}, instruction {instruction}");
            }
        }
    }

    #[test]
    fn lnotab_of_3_9() {
        let lines = [
            (0, 3),
            (1, 4),
            (12, 6),
            (18, 7),
            (19, 8),
            (20, 7),
            (25, 10),
            (29, 11),
            (34, 15),
            (36, 16),
            (42, 17),
        ];
        let hex = "0002020116020c01020102ff0a0308010a0404010c01";
        assert_lines(LineTable::Lnotab, hex, &lines, 44);
    }

    #[test]
    fn pep_626_of_3_10() {
        let lines = [
            (0, 3),
            (1, 4),
            (12, 6),
            (18, 7),
            (19, 8),
            (20, 7),
            (24, 6),
            (25, 10),
            (29, 11),
            (34, 15),
            (36, 16),
            (40, 15),
            (42, 0),
            (43, 17),
        ];
        let hex = "020216010c020201020108ff02ff08040a010404080104ff02800402";
        assert_lines(LineTable::Pep626, hex, &lines, 45);
    }

    #[test]
    fn locations_of_3_11() {
        let lines = [
            (0, 1),
            (1, 3),
            (2, 4),
            (28, 0),
            (29, 6),
            (38, 7),
            (39, 8),
            (40, 7),
            (45, 6),
            (46, 0),
            (49, 10),
            (53, 11),
            (58, 15),
            (60, 16),
            (65, 15),
            (67, 0),
            (68, 17),
        ];
        let hex = "8000f004050513f002010d13f000010d139d05986199089c08f000010d13f100010d13f400010d138801\
                   8801f8e50b15f000020513f000020513f000020513d81011d81011f103011112f000010913f000010913\
                   f000010913f003020513f8f8f8f008000e0ff000060517f0000605178801d80b0cf00005091790218861\
                   8861f008001314f000010d17d81011905191069001f003001314f000010d17f8e00b0c8048";
        assert_lines(LineTable::Locations, hex, &lines, 70);
    }

    #[test]
    fn no_table_is_read_past_its_end() {
        for line_table in [LineTable::Lnotab, LineTable::Pep626, LineTable::Locations] {
            let steps = "f07f7f7f7f7f7f7f7f7f3f".repeat(40);
            for hex in ["", "ff", "f07f7f7f7f7f7f7f7f7f7f7f7f7f7f7f", "fe", &steps] {
                let _ = Lines::of(&code(line_table, hex)).line(1 << 23);
            }
        }
    }
}
