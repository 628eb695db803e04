//! Evaluates `.eh_frame` for one address, with gimli. Slow, needs 16 KiB of stack: once per address.

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, Operation,
    RegisterRule, UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow,
};

use super::elf_image::ElfImage;
use super::loader_list::find_object;
use super::objects::NO_MAPPING;
use super::rule::{Rule, Step};
use crate::arch::registers;
use crate::process::Process;

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

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
    let step = step(&image, found.eh_frame_hdr, place).unwrap_or(Step::Unknown);
    Rule { step, mapping }
}

fn step(image: &ElfImage, header_address: u64, place: u64) -> Option<Step> {
    let header = EhFrameHdr::new(image.from(header_address), LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame_hdr(header_address);
    let header = header.parse(&bases, 8).ok()?;
    let frame_address = match header.eh_frame_ptr() {
        gimli::Pointer::Direct(address) => address,
        gimli::Pointer::Indirect(_) => return None,
    };
    let bases = bases.set_eh_frame(frame_address);
    let section = EhFrame::new(image.from(frame_address), LittleEndian);
    let table = header.table()?;
    let entry = table.fde_for_address(&section, &bases, place, EhFrame::cie_from_offset).ok()?;
    if entry.is_signal_trampoline() {
        return Some(Step::Signal);
    }
    let mut context = UnwindContext::new();
    let row = entry.unwind_info_for_address(&section, &bases, &mut context, place).ok()?;
    step_of_row(&section, row)
}

fn step_of_row(section: &EhFrame<Bytes<'_>>, row: &UnwindTableRow<usize>) -> Option<Step> {
    match row.register(registers::RETURN_ADDRESS) {
        RegisterRule::Offset(-8) => {}
        RegisterRule::Undefined => return Some(Step::Root),
        _ => return None,
    }
    let bp = row.register(registers::BP);
    match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => {
            let cfa = i32::try_from(*offset).ok()?;
            let saved_bp = match bp {
                RegisterRule::Undefined | RegisterRule::SameValue => None,
                RegisterRule::Offset(offset) => Some(i32::try_from(offset).ok()?),
                _ => return None,
            };
            match *register {
                registers::SP => Some(Step::FromSp { cfa, saved_bp }),
                registers::BP => Some(Step::FromBp { cfa, saved_bp }),
                _ => None,
            }
        }
        CfaRule::Expression(cfa) => {
            let cfa = bp_offset(section, cfa, true)?;
            let RegisterRule::Expression(saved) = bp else { return None };
            Some(Step::Realigned { cfa, saved_bp: bp_offset(section, &saved, false)? })
        }
    }
}

/// The offset of an expression that is `bp + offset`, read from there if `deref`.
fn bp_offset(
    section: &EhFrame<Bytes<'_>>,
    expression: &UnwindExpression<usize>,
    deref: bool,
) -> Option<i32> {
    let expression = expression.get(section).ok()?;
    let encoding = gimli::Encoding { address_size: 8, format: gimli::Format::Dwarf32, version: 4 };
    let mut operations = expression.operations(encoding);
    let Operation::RegisterOffset { register, offset, .. } = operations.next().ok()?? else {
        return None;
    };
    if deref && !matches!(operations.next().ok()??, Operation::Deref { size: 8, space: false, .. })
    {
        return None;
    }
    let ends = operations.next().ok()?.is_none();
    (register == registers::BP && ends).then(|| i32::try_from(offset).ok())?
}
