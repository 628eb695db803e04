//! Whose the process's anonymous memory is, as the kernel's list of its mappings tells.
//!
//! Stands behind the last field of some memory readings. Sizes are whole pages of 4 KiB.

use crate::varint::{Reader, Writer};

/// The most bytes that areas take in a record.
pub const AREAS_BYTES: usize = 7 * 1024;

const PAGE: u64 = 4096;

/// What is known of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AreaKind {
    /// Nothing: only the events say what it is.
    Anonymous = 0,
    /// The C heap that grows by `brk`.
    Heap = 1,
    /// The stack of a thread, not the main one's.
    Stack = 2,
    /// It follows the writable part of a file, as memory of zeros of a library's does.
    BehindFile = 3,
    /// More of the mapping that the last area is of: between them is memory that is not resident.
    Continued = 4,
}

impl AreaKind {
    fn from_wire(number: u8) -> Option<Self> {
        let kinds = [Self::Anonymous, Self::Heap, Self::Stack, Self::BehindFile, Self::Continued];
        kinds.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Adjacent private memory of no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its first byte.
    pub start: u64,
    /// Bytes from there to its end.
    pub len: u64,
    /// The part of these that is resident.
    pub resident: u64,
    /// What is known of it.
    pub kind: AreaKind,
}

/// What is resident, in bytes, by owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryLayout<'a> {
    /// Private pages of mapped files: what was written of their data.
    pub files: u64,
    /// The main thread's stack.
    pub main_stack: u64,
    /// The tracer's own tables and stacks; what it has of the trace file is shared, not anonymous.
    pub tracer: u64,
    /// Areas for which there was no room.
    pub rest: u64,
    /// Areas, by address, as [`AreaWriter`] writes them.
    pub areas: &'a [u8],
}

impl<'a> MemoryLayout<'a> {
    /// Appends the fields.
    pub(crate) fn write(&self, out: &mut Writer<'_>) {
        for bytes in [self.files, self.main_stack, self.tracer, self.rest] {
            out.number(bytes / PAGE);
        }
        out.bytes(self.areas);
    }

    /// Reads the fields; `None` if they are cut off, or the areas make no sense.
    pub(crate) fn read(input: &mut Reader<'a>) -> Option<Self> {
        let mut bytes = || Some(input.number()?.saturating_mul(PAGE));
        let (files, main_stack, tracer, rest) = (bytes()?, bytes()?, bytes()?, bytes()?);
        let layout = Self { files, main_stack, tracer, rest, areas: input.bytes()? };
        let mut areas = layout.areas();
        areas.by_ref().for_each(drop);
        areas.input.is_empty().then_some(layout)
    }

    /// The areas, by address.
    pub fn areas(&self) -> Areas<'a> {
        Areas { input: Reader::new(self.areas), last: 0 }
    }
}

/// Reads areas.
#[derive(Clone, Debug)]
pub struct Areas<'a> {
    input: Reader<'a>,
    last: u64,
}

impl Iterator for Areas<'_> {
    type Item = Area;

    fn next(&mut self) -> Option<Area> {
        let mut input = self.input.clone();
        let start = input.difference(self.last)?;
        let (len, resident) = (input.number()?, input.number()?);
        let kind = AreaKind::from_wire(input.byte()?)?;
        self.input = input;
        self.last = start;
        let [start, len, resident] = [start, len, resident].map(|pages| pages.saturating_mul(PAGE));
        Some(Area { start, len, resident, kind })
    }
}

/// Writes areas, by address, as far as there is room.
#[derive(Debug)]
pub struct AreaWriter {
    bytes: [u8; AREAS_BYTES],
    len: usize,
    last: u64,
}

impl Default for AreaWriter {
    fn default() -> Self {
        Self { bytes: [0; AREAS_BYTES], len: 0, last: 0 }
    }
}

impl AreaWriter {
    /// Appends an area. False: there is no room.
    pub fn push(&mut self, area: &Area) -> bool {
        let Some(room) = self.bytes.get_mut(self.len..) else { return false };
        let mut out = Writer::new(room);
        let start = area.start / PAGE;
        out.difference(self.last, start);
        out.number(area.len / PAGE);
        out.number(area.resident / PAGE);
        out.byte(area.kind as u8);
        let Some(len) = out.finish() else { return false };
        self.len = self.len.saturating_add(len);
        self.last = start;
        true
    }

    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_survive_until_there_is_no_room() {
        let area = |number: u64| Area {
            start: 0x7F00_0000_0000 + number * (1 << 30),
            len: 1 << 20,
            resident: 12 << 12,
            kind: if number == 0 { AreaKind::Heap } else { AreaKind::Stack },
        };
        let mut writer = AreaWriter::default();
        let written = (0..).take_while(|&number| writer.push(&area(number))).count() as u64;
        assert!(written > 500, "{written}");
        let layout = MemoryLayout { tracer: 5 << 12, areas: writer.bytes(), ..Default::default() };
        assert!(layout.areas().eq((0..written).map(area)));
        let mut room = [0; AREAS_BYTES + 64];
        let mut out = Writer::new(&mut room);
        layout.write(&mut out);
        let len = out.finish().unwrap();
        assert_eq!(MemoryLayout::read(&mut Reader::new(&room[..len])), Some(layout));
        for cut in [0, 1, 4, len - 1] {
            assert_eq!(MemoryLayout::read(&mut Reader::new(&room[..cut])), None, "{cut}");
        }
    }
}
