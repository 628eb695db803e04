//! Finds and reads the entries of `.eh_frame`: what compilers say about the frames of a function.
//!
//! Layout: Linux Standard Base Core 5.0, "Exception Frames"; the encodings are DWARF's. What is
//! damaged or unusual gives `None`, and nothing is allocated: this runs inside malloc.

/// Bytes of memory, and the address of the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) address: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: u64) -> Option<Cursor<'a>> {
        let (taken, rest) = self.bytes.split_at_checked(usize::try_from(len).ok()?)?;
        let taken = Cursor { bytes: taken, address: self.address };
        *self = Cursor { bytes: rest, address: self.address.wrapping_add(len) };
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N as u64)?.bytes.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// An unsigned LEB128 number.
    pub(super) fn unsigned(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A signed LEB128 number.
    pub(super) fn signed(&mut self) -> Option<i64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= i64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                let unused = 64u32.saturating_sub(shift + 7);
                return Some(value.wrapping_shl(unused).wrapping_shr(unused));
            }
        }
        None
    }

    /// A number of one of DWARF's pointer formats, without what it is relative to.
    fn encoded(&mut self, encoding: u8) -> Option<u64> {
        let extended = |value: i64| value as u64;
        match encoding & 0x0F {
            0x00 | 0x04 | 0x0C => self.u64(),
            0x01 => self.unsigned(),
            0x02 => self.u16().map(u64::from),
            0x03 => self.u32().map(u64::from),
            0x09 => self.signed().map(extended),
            0x0A => self.u16().map(|value| extended(i64::from(value as i16))),
            0x0B => self.u32().map(|value| extended(i64::from(value as i32))),
            _ => None,
        }
    }

    /// An address: absolute, or relative to where it stands.
    pub(super) fn pointer(&mut self, encoding: u8) -> Option<u64> {
        let here = self.address;
        let value = self.encoded(encoding)?;
        match encoding & 0xF0 {
            0x00 => Some(value),
            0x10 => Some(here.wrapping_add(value)),
            _ => None,
        }
    }
}

/// The entry of one function: its frame description and the common information it refers to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    /// Where its code begins.
    pub(super) start: u64,
    pub(super) code_alignment: u64,
    pub(super) data_alignment: i64,
    /// How addresses are written in it.
    pub(super) encoding: u8,
    /// The kernel jumps here when a signal handler returns.
    pub(super) is_signal: bool,
    /// What holds at the first instruction.
    pub(super) initial: Cursor<'a>,
    /// What changes from there on.
    pub(super) changes: Cursor<'a>,
}

/// Relative to the table, four signed bytes: how every linker writes the table's entries.
const TABLE_ENCODING: u8 = 0x3B;
const TABLE_ENTRY_BYTES: u64 = 8;

/// The entry for an instruction, found through `.eh_frame_hdr`, which begins at `header`.
///
/// `memory` gives the bytes of the object from an address on; none where there are none.
pub(super) fn find<'a>(
    memory: impl Fn(u64) -> &'a [u8],
    header: u64,
    place: u64,
) -> Option<Entry<'a>> {
    let mut table = Cursor { bytes: memory(header), address: header };
    let (version, to_frames) = (table.u8()?, table.u8()?);
    let (count_encoding, entry_encoding) = (table.u8()?, table.u8()?);
    if version != 1 || entry_encoding != TABLE_ENCODING {
        return None;
    }
    table.pointer(to_frames)?;
    let count = table.encoded(count_encoding)?;
    let entries = table.take(count.checked_mul(TABLE_ENTRY_BYTES)?)?;
    let field = |index: u64, offset: u64| {
        let mut entry = entries;
        entry.take(index.checked_mul(TABLE_ENTRY_BYTES)?.checked_add(offset)?)?;
        Some(header.wrapping_add(entry.u32()? as i32 as u64))
    };
    // The last entry that does not begin behind the place.
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if field(middle, 0)? <= place { low = middle + 1 } else { high = middle }
    }
    let address = field(low.checked_sub(1)?, 4)?;
    read(&memory, address, place)
}

/// What a length in front says is one entry; `None` at the end of the section.
fn bounded<'a>(memory: impl Fn(u64) -> &'a [u8], address: u64) -> Option<Cursor<'a>> {
    let mut cursor = Cursor { bytes: memory(address), address };
    let len = match cursor.u32()? {
        0 => return None,
        u32::MAX => cursor.u64()?,
        len => u64::from(len),
    };
    cursor.take(len)
}

fn read<'a>(memory: impl Fn(u64) -> &'a [u8], address: u64, place: u64) -> Option<Entry<'a>> {
    let mut cursor = bounded(&memory, address)?;
    let here = cursor.address;
    let distance = cursor.u32()?;
    if distance == 0 {
        return None;
    }
    let common = Common::read(bounded(&memory, here.wrapping_sub(u64::from(distance)))?)?;
    let start = cursor.pointer(common.encoding)?;
    let len = cursor.encoded(common.encoding)?;
    if place.wrapping_sub(start) >= len {
        return None;
    }
    if common.is_augmented {
        let len = cursor.unsigned()?;
        cursor.take(len)?;
    }
    Some(Entry {
        start,
        code_alignment: common.code_alignment,
        data_alignment: common.data_alignment,
        encoding: common.encoding,
        is_signal: common.is_signal,
        initial: common.initial,
        changes: cursor,
    })
}

/// What the entries of many functions have in common.
struct Common<'a> {
    code_alignment: u64,
    data_alignment: i64,
    encoding: u8,
    is_signal: bool,
    is_augmented: bool,
    initial: Cursor<'a>,
}

impl<'a> Common<'a> {
    fn read(mut cursor: Cursor<'a>) -> Option<Self> {
        let (id, version) = (cursor.u32()?, cursor.u8()?);
        if id != 0 || (version != 1 && version != 3) {
            return None;
        }
        let len = cursor.bytes.iter().position(|&byte| byte == 0)?;
        let letters = cursor.take(len as u64)?.bytes;
        cursor.u8()?;
        let (code_alignment, data_alignment) = (cursor.unsigned()?, cursor.signed()?);
        let _return_address = if version == 1 { cursor.u8()?.into() } else { cursor.unsigned()? };
        let mut common = Self {
            code_alignment,
            data_alignment,
            encoding: 0,
            is_signal: false,
            is_augmented: !letters.is_empty(),
            initial: cursor,
        };
        if let Some((first, letters)) = letters.split_first() {
            if *first != b'z' {
                return None;
            }
            let len = cursor.unsigned()?;
            let mut data = cursor.take(len)?;
            for letter in letters {
                match letter {
                    b'R' => common.encoding = data.u8()?,
                    b'S' => common.is_signal = true,
                    b'L' => drop(data.u8()?),
                    b'P' => {
                        let encoding = data.u8()?;
                        data.encoded(encoding)?;
                    }
                    // What comes behind an unknown one cannot be read.
                    _ => return None,
                }
            }
            common.initial = cursor;
        }
        Some(common)
    }
}
