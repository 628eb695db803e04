//! The frame of the stack tree for a Python frame; a code object that is new is written into the trace.

use tftrace_format::record::{CODE_LIMIT, Code, LineTable, Record};
use tftrace_format::{CodeId, Frame};

use super::frames::RawFrame;
use super::layout::{self, Layout};
use super::line_places::without_columns;
use super::memory::{byte, bytes, word};
use super::{Interpreter, code_death};
use crate::id_table::{Found, hash_of};
use crate::process::Process;
use crate::system_call;
use crate::thread::guard::HookEntry;

/// The longest function name and file name that are kept, in bytes.
const MOST_TEXT: usize = 4096;
/// A line table that is longer without columns is kept with them.
const MOST_LINES: usize = 4096;

/// The frame of the tree for a frame of this thread's.
#[inline(always)]
pub(super) fn frame_of(
    entry: &mut HookEntry,
    interpreter: &'static Interpreter,
    raw: &RawFrame,
) -> u64 {
    let id = match interpreter.codes.get(raw.code) {
        0 => learn(entry, interpreter, raw.code),
        id => id,
    };
    let instruction = instruction_of(&interpreter.layout, raw.code, raw.instruction);
    Frame::Python { code: CodeId(id), instruction }.to_wire()
}

/// The instruction that a frame had reached, counted from the first of its code.
#[inline(always)]
fn instruction_of(layout: &Layout, code: u64, instruction: u64) -> u32 {
    let start = code.wrapping_add(layout.code_instructions);
    // A frame that has not begun stands before its first instruction.
    u32::try_from(instruction.wrapping_sub(start) / 2).unwrap_or(0)
}

/// The frame of the tree for one that stood at another instruction of the same code, and had `wire` there. `None`: that
/// says nothing of its code.
#[inline(always)]
pub(super) fn moved(layout: &Layout, wire: u64, code: u64, instruction: u64) -> Option<u64> {
    match Frame::from_wire(wire)? {
        Frame::Python { code: id, .. } if id != CodeId::UNKNOWN => {
            let instruction = instruction_of(layout, code, instruction);
            Some(Frame::Python { code: id, instruction }.to_wire())
        }
        _ => None,
    }
}

#[cold]
fn learn(entry: &mut HookEntry, interpreter: &'static Interpreter, code: u64) -> u32 {
    let process = entry.process();
    let written = || write(process, interpreter, code).unwrap_or(CodeId::UNKNOWN.0);
    entry.slot().on_own_stack(written)
}

/// Numbers a code object; writes it into the trace if none like it was there before.
fn write(process: &Process, interpreter: &'static Interpreter, code: u64) -> Option<u32> {
    let layout = &interpreter.layout;
    // SAFETY: a frame of this thread's refers to the code object, which keeps it and what it refers to.
    let field = |offset: u64| unsafe { word(code.wrapping_add(offset)) };
    code_death::watch(field(8)?)?;
    if interpreter.codes.is_full() {
        return None;
    }
    let (mut name, mut file) = (Text::new(), Text::new());
    name.push_string(layout, field(layout.code_name)?);
    file.push_string(layout, field(layout.code_file)?);
    let table = field(layout.code_lines)?;
    // SAFETY: as above; a bytes object never changes.
    let len = unsafe { word(table.wrapping_add(layout::BYTES_LENGTH)) }?;
    let most = CODE_LIMIT - 2 * MOST_TEXT - 64;
    let data = table.wrapping_add(layout::BYTES_DATA);
    // SAFETY: as above.
    let full = unsafe { bytes(data, len.min(most as u64)) }?;
    let mut room = [0; MOST_LINES];
    let shorter = (layout.line_table == LineTable::Locations)
        .then(|| without_columns(full, &mut room))
        .flatten();
    let lines = shorter.unwrap_or(full);
    let first_line = (code.wrapping_add(layout.code_first_line) & !7, layout.code_first_line & 4);
    // SAFETY: as above; the number has four bytes inside this word.
    let first_line = (unsafe { word(first_line.0) }? >> (first_line.1 * 8)) as u32;
    let texts = [name.bytes(), file.bytes(), lines];
    let id = match interpreter.codes.number(hash_of(u64::from(first_line), texts)) {
        // Made again from the same source, as by `exec` in a loop.
        Found::Known(id) => id,
        Found::New(id) => {
            let (name, file, line_table) = (name.bytes(), file.bytes(), layout.line_table);
            let code = Code { id: CodeId(id), first_line, name, file, line_table, lines };
            record(process, &Record::Code(code), texts)?;
            id
        }
    };
    Some(interpreter.codes.publish(code, id))
}

fn record(process: &Process, record: &Record<'_>, texts: [&[u8]; 3]) -> Option<()> {
    /// Nearly every record is smaller; the slot's stack has room for so much.
    const SMALL: usize = 8 * 1024;
    /// What a record has beside its texts is less.
    const FIELDS: usize = 64;
    let now = process.clock.now();
    let len = texts.iter().fold(FIELDS, |sum, text| sum.saturating_add(text.len()));
    if len <= SMALL {
        process.log.large_record(&process.spool, now, record, &mut [0; SMALL]);
        return Some(());
    }
    let room = system_call::map_private(CODE_LIMIT).ok()?;
    // SAFETY: a mapping of that size, which is unmapped below.
    let slice = unsafe { core::slice::from_raw_parts_mut(room, CODE_LIMIT) };
    process.log.large_record(&process.spool, now, record, slice);
    // SAFETY: nothing refers to it any more.
    unsafe { system_call::unmap(room, CODE_LIMIT) };
    Some(())
}

/// Text in UTF-8. Large: it is made on the slot's own stack only.
struct Text {
    room: [u8; MOST_TEXT],
    len: usize,
}

impl Text {
    fn new() -> Self {
        Self { room: [0; MOST_TEXT], len: 0 }
    }

    fn bytes(&self) -> &[u8] {
        self.room.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, character: u32) -> bool {
        let mut room = [0; 4];
        let character = char::from_u32(character).unwrap_or(char::REPLACEMENT_CHARACTER);
        let encoded = character.encode_utf8(&mut room).as_bytes();
        let end = self.len.saturating_add(encoded.len());
        let Some(place) = self.room.get_mut(self.len..end) else { return false };
        for (to, from) in place.iter_mut().zip(encoded) {
            *to = *from;
        }
        self.len = end;
        true
    }

    /// Adds a `str`, of whichever of its three widths.
    fn push_string(&mut self, layout: &Layout, string: u64) {
        // SAFETY: a live string, which never changes: a field of a live code object.
        let Some(len) = (unsafe { word(string.wrapping_add(layout::STRING_LENGTH)) }) else {
            return;
        };
        // SAFETY: as above.
        let state = unsafe { byte(string.wrapping_add(layout::STRING_STATE)) }.unwrap_or(0);
        let (width, ascii) = (u64::from(state >> 2 & 7), state >> 6 & 1 == 1);
        let start =
            string.wrapping_add(if ascii { layout.ascii_data } else { layout.compact_data });
        let len = len.min(MOST_TEXT as u64).saturating_mul(width);
        // SAFETY: as above: characters stand behind the object's fields.
        let Some(data) = (unsafe { bytes(start, len) }) else { return };
        for character in data.chunks_exact(width.max(1) as usize) {
            let value = character.iter().rev().fold(0u32, |value, &b| value << 8 | u32::from(b));
            if !self.push(value) {
                return;
            }
        }
    }
}
