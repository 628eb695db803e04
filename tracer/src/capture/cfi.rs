//! Evaluates call frame information for one address: how to get from this frame to its caller.
//!
//! The instructions are DWARF 5's, section 6.4.2. Only what leads to the caller is followed: where
//! its frame begins, and where `bp` and the return address are. Once per address; no allocation.

use super::eh_frame::{self, Cursor, Entry};
use super::elf_image::ElfImage;
use super::loader_list::find_object;
use super::objects::NO_MAPPING;
use super::rule::{Rule, Step};
use crate::arch::registers;
use crate::process::Process;

/// The rule for the frame with this address; the object is numbered if it is new.
///
/// The address is on the calling thread's stack, so its object cannot be unloaded meanwhile.
pub(super) fn evaluate(process: &Process, address: u64, interrupted: bool) -> Rule {
    let unknown = |mapping| Rule { step: Step::Unknown, mapping };
    // A call may be a function's last instruction: its return address is behind the function.
    let place = if interrupted { address } else { address.wrapping_sub(1) };
    let Some(found) = find_object(place) else { return unknown(NO_MAPPING) };
    // SAFETY: see above: the object is on this thread's stack.
    let Some(image) = (unsafe { ElfImage::read(&found) }) else { return unknown(NO_MAPPING) };
    let mapping = process.objects.number_of(process, &found, &image);
    let view = process.table_views.of(mapping);
    let bytes = |address| {
        let viewed = view.as_ref().and_then(|view| view.from(address));
        viewed.unwrap_or_else(|| image.from(address))
    };
    let step = step(bytes, found.eh_frame_hdr, place).unwrap_or(Step::Unknown);
    Rule { step, mapping }
}

/// How to get to the caller of the code at a place; the object's `.eh_frame_hdr` is at `header`.
///
/// `memory` gives the bytes of the object from an address on; none where there are none.
pub(super) fn step<'a>(memory: impl Fn(u64) -> &'a [u8], header: u64, place: u64) -> Option<Step> {
    let entry = eh_frame::find(memory, header, place)?;
    if entry.is_signal {
        return Some(Step::Signal);
    }
    Row::at(&entry, place)?.step()
}

/// Where the caller's frame begins.
#[derive(Clone, Copy)]
enum Cfa<'a> {
    Register { register: u64, offset: i64 },
    Expression(Cursor<'a>),
}

/// Where the caller's value of a register is.
#[derive(Clone, Copy)]
enum Saved<'a> {
    /// Nothing was said.
    Unspecified,
    Undefined,
    Same,
    /// At an offset from the beginning of the caller's frame.
    Offset(i64),
    /// At an address that is computed.
    Expression(Cursor<'a>),
    Elsewhere,
}

/// What holds at one instruction.
#[derive(Clone, Copy)]
struct Row<'a> {
    cfa: Cfa<'a>,
    bp: Saved<'a>,
    return_address: Saved<'a>,
}

/// How many rows an entry may remember at a time; compilers remember one.
const MOST_REMEMBERED: usize = 4;

impl<'a> Row<'a> {
    const NOTHING: Self = Self {
        cfa: Cfa::Register { register: registers::SP, offset: 0 },
        bp: Saved::Unspecified,
        return_address: Saved::Unspecified,
    };

    /// The row of an entry at one of its instructions.
    fn at(entry: &Entry<'a>, place: u64) -> Option<Self> {
        let mut machine = Machine {
            entry,
            row: Self::NOTHING,
            initial: Self::NOTHING,
            remembered: [Self::NOTHING; MOST_REMEMBERED],
            depth: 0,
            location: entry.start,
            place,
        };
        machine.run(entry.initial)?;
        machine.initial = machine.row;
        machine.run(entry.changes)?;
        Some(machine.row)
    }

    fn step(&self) -> Option<Step> {
        match self.return_address {
            Saved::Offset(-8) => {}
            Saved::Unspecified | Saved::Undefined => return Some(Step::Root),
            _ => return None,
        }
        match self.cfa {
            Cfa::Register { register, offset } => {
                let cfa = i32::try_from(offset).ok()?;
                let saved_bp = match self.bp {
                    Saved::Unspecified | Saved::Undefined | Saved::Same => None,
                    Saved::Offset(offset) => Some(i32::try_from(offset).ok()?),
                    Saved::Expression(_) | Saved::Elsewhere => return None,
                };
                match register {
                    registers::SP => Some(Step::FromSp { cfa, saved_bp }),
                    registers::BP => Some(Step::FromBp { cfa, saved_bp }),
                    _ => None,
                }
            }
            Cfa::Expression(cfa) => {
                let Saved::Expression(saved) = self.bp else { return None };
                let (cfa, saved_bp) = (bp_offset(cfa, true)?, bp_offset(saved, false)?);
                Some(Step::Realigned { cfa, saved_bp })
            }
        }
    }

    fn set(&mut self, register: u64, saved: Saved<'a>) {
        match register {
            registers::BP => self.bp = saved,
            registers::RETURN_ADDRESS => self.return_address = saved,
            _ => {}
        }
    }
}

/// The offset of an expression that is `bp + offset`, read from there if `deref`.
fn bp_offset(mut expression: Cursor<'_>, deref: bool) -> Option<i32> {
    const DEREF: u8 = 0x06;
    const FIRST_REGISTER: u8 = 0x70;
    if u64::from(expression.u8()?.checked_sub(FIRST_REGISTER)?) != registers::BP {
        return None;
    }
    let offset = expression.signed()?;
    if deref && expression.u8()? != DEREF {
        return None;
    }
    expression.is_empty().then(|| i32::try_from(offset).ok())?
}

/// Executes instructions up to a place in the code.
struct Machine<'a, 'e> {
    entry: &'e Entry<'a>,
    row: Row<'a>,
    initial: Row<'a>,
    remembered: [Row<'a>; MOST_REMEMBERED],
    depth: usize,
    location: u64,
    place: u64,
}

impl<'a> Machine<'a, '_> {
    fn run(&mut self, mut code: Cursor<'a>) -> Option<()> {
        while !code.is_empty() && self.location <= self.place {
            self.execute(&mut code)?;
        }
        Some(())
    }

    fn execute(&mut self, code: &mut Cursor<'a>) -> Option<()> {
        let byte = code.u8()?;
        let low = u64::from(byte & 0x3F);
        match byte >> 6 {
            1 => self.advance(low),
            2 => self.offset(low, code.unsigned()? as i64),
            3 => self.restore(low),
            _ => return self.extended(byte, code),
        }
        Some(())
    }

    /// The instructions that fill a byte, by their numbers in DWARF 5, table 7.29.
    fn extended(&mut self, byte: u8, code: &mut Cursor<'a>) -> Option<()> {
        match byte {
            op::NOP => {}
            op::SET_LOC => self.location = code.pointer(self.entry.encoding)?,
            op::ADVANCE_LOC1 => self.advance(code.u8()?.into()),
            op::ADVANCE_LOC2 => self.advance(code.u16()?.into()),
            op::ADVANCE_LOC4 => self.advance(code.u32()?.into()),
            op::OFFSET_EXTENDED => self.offset(code.unsigned()?, code.unsigned()? as i64),
            op::OFFSET_EXTENDED_SF => self.offset(code.unsigned()?, code.signed()?),
            op::NEGATIVE_OFFSET_EXTENDED => {
                let (register, offset) = (code.unsigned()?, code.unsigned()? as i64);
                self.offset(register, offset.wrapping_neg());
            }
            op::RESTORE_EXTENDED => self.restore(code.unsigned()?),
            op::UNDEFINED => self.row.set(code.unsigned()?, Saved::Undefined),
            op::SAME_VALUE => self.row.set(code.unsigned()?, Saved::Same),
            op::EXPRESSION => self.row.set(code.unsigned()?, Saved::Expression(block(code)?)),
            op::REGISTER | op::VAL_OFFSET | op::VAL_OFFSET_SF => {
                self.row.set(code.unsigned()?, Saved::Elsewhere);
                code.unsigned()?;
            }
            op::VAL_EXPRESSION => {
                self.row.set(code.unsigned()?, Saved::Elsewhere);
                block(code)?;
            }
            op::REMEMBER_STATE => {
                *self.remembered.get_mut(self.depth)? = self.row;
                self.depth += 1;
            }
            op::RESTORE_STATE => {
                self.depth = self.depth.checked_sub(1)?;
                self.row = *self.remembered.get(self.depth)?;
            }
            _ => return self.define_frame(byte, code),
        }
        Some(())
    }

    /// The instructions that say where the caller's frame begins.
    fn define_frame(&mut self, byte: u8, code: &mut Cursor<'a>) -> Option<()> {
        let (register, offset) = match self.row.cfa {
            Cfa::Register { register, offset } => (Some(register), Some(offset)),
            Cfa::Expression(_) => (None, None),
        };
        let aligned = |offset: i64| offset.wrapping_mul(self.entry.data_alignment);
        let (register, offset) = match byte {
            op::DEF_CFA => (code.unsigned()?, code.unsigned()? as i64),
            op::DEF_CFA_SF => (code.unsigned()?, aligned(code.signed()?)),
            op::DEF_CFA_REGISTER => (code.unsigned()?, offset?),
            op::DEF_CFA_OFFSET => (register?, code.unsigned()? as i64),
            op::DEF_CFA_OFFSET_SF => (register?, aligned(code.signed()?)),
            op::DEF_CFA_EXPRESSION => {
                self.row.cfa = Cfa::Expression(block(code)?);
                return Some(());
            }
            op::ARGS_SIZE => return code.unsigned().map(drop),
            _ => return None,
        };
        self.row.cfa = Cfa::Register { register, offset };
        Some(())
    }

    fn advance(&mut self, delta: u64) {
        let delta = delta.wrapping_mul(self.entry.code_alignment);
        self.location = self.location.saturating_add(delta);
    }

    fn offset(&mut self, register: u64, factor: i64) {
        let offset = factor.wrapping_mul(self.entry.data_alignment);
        self.row.set(register, Saved::Offset(offset));
    }

    fn restore(&mut self, register: u64) {
        match register {
            registers::BP => self.row.bp = self.initial.bp,
            registers::RETURN_ADDRESS => self.row.return_address = self.initial.return_address,
            _ => {}
        }
    }
}

fn block<'a>(code: &mut Cursor<'a>) -> Option<Cursor<'a>> {
    let len = code.unsigned()?;
    code.take(len)
}

/// Instructions of DWARF 5, and GNU's.
mod op {
    pub(super) const NOP: u8 = 0x00;
    pub(super) const SET_LOC: u8 = 0x01;
    pub(super) const ADVANCE_LOC1: u8 = 0x02;
    pub(super) const ADVANCE_LOC2: u8 = 0x03;
    pub(super) const ADVANCE_LOC4: u8 = 0x04;
    pub(super) const OFFSET_EXTENDED: u8 = 0x05;
    pub(super) const RESTORE_EXTENDED: u8 = 0x06;
    pub(super) const UNDEFINED: u8 = 0x07;
    pub(super) const SAME_VALUE: u8 = 0x08;
    pub(super) const REGISTER: u8 = 0x09;
    pub(super) const REMEMBER_STATE: u8 = 0x0A;
    pub(super) const RESTORE_STATE: u8 = 0x0B;
    pub(super) const DEF_CFA: u8 = 0x0C;
    pub(super) const DEF_CFA_REGISTER: u8 = 0x0D;
    pub(super) const DEF_CFA_OFFSET: u8 = 0x0E;
    pub(super) const DEF_CFA_EXPRESSION: u8 = 0x0F;
    pub(super) const EXPRESSION: u8 = 0x10;
    pub(super) const OFFSET_EXTENDED_SF: u8 = 0x11;
    pub(super) const DEF_CFA_SF: u8 = 0x12;
    pub(super) const DEF_CFA_OFFSET_SF: u8 = 0x13;
    pub(super) const VAL_OFFSET: u8 = 0x14;
    pub(super) const VAL_OFFSET_SF: u8 = 0x15;
    pub(super) const VAL_EXPRESSION: u8 = 0x16;
    pub(super) const ARGS_SIZE: u8 = 0x2E;
    pub(super) const NEGATIVE_OFFSET_EXTENDED: u8 = 0x2F;
}
