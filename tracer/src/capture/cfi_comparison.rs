//! What our evaluation of call frame information says, beside what gimli says.

use std::ffi::{CStr, c_int, c_void};

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, Operation,
    RegisterRule, UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow, X86_64,
};

use super::cfi;
use super::elf_image::ElfImage;
use super::rule::Step;
use crate::real::FoundObject;

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

fn gimlis_step(section: &EhFrame<Bytes<'_>>, row: &UnwindTableRow<usize>) -> Option<Step> {
    match row.register(X86_64::RA) {
        RegisterRule::Offset(-8) => {}
        RegisterRule::Undefined => return Some(Step::Root),
        _ => return None,
    }
    let bp = row.register(X86_64::RBP);
    match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => {
            let cfa = i32::try_from(*offset).ok()?;
            let saved_bp = match bp {
                RegisterRule::Undefined | RegisterRule::SameValue => None,
                RegisterRule::Offset(offset) => Some(i32::try_from(offset).ok()?),
                _ => return None,
            };
            match *register {
                X86_64::RSP => Some(Step::FromSp { cfa, saved_bp }),
                X86_64::RBP => Some(Step::FromBp { cfa, saved_bp }),
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
    (register == X86_64::RBP && ends).then(|| i32::try_from(offset).ok())?
}

/// How many rows were the same; fails at the first that is not.
fn compare(image: &ElfImage, header_address: u64, name: &str) -> usize {
    let bases = BaseAddresses::default().set_eh_frame_hdr(header_address);
    let header = EhFrameHdr::new(image.from(header_address), LittleEndian);
    let header = header.parse(&bases, 8).unwrap();
    let gimli::Pointer::Direct(frame_address) = header.eh_frame_ptr() else {
        unreachable!("{name}")
    };
    let bases = bases.set_eh_frame(frame_address);
    let section = EhFrame::new(image.from(frame_address), LittleEndian);
    let mut context = UnwindContext::new();
    let mut same = 0;
    let table = header.table().unwrap();
    let mut entries = table.iter(&bases);
    while let Some((_, gimli::Pointer::Direct(at))) = entries.next().unwrap() {
        let offset = gimli::EhFrameOffset((at - frame_address) as usize);
        let entry = section.fde_from_offset(&bases, offset, EhFrame::cie_from_offset).unwrap();
        let ours = |place| cfi::step(|address| image.from(address), header_address, place);
        if entry.is_signal_trampoline() {
            assert_eq!(ours(entry.initial_address()), Some(Step::Signal));
            continue;
        }
        let mut rows = entry.rows(&section, &bases, &mut context).unwrap();
        while let Some(row) = rows.next_row().unwrap() {
            let expected = gimlis_step(&section, row);
            for place in [row.start_address(), row.end_address() - 1] {
                if (row.start_address()..row.end_address()).contains(&place) {
                    assert_eq!(ours(place), expected, "{name}, {place:#x}");
                    same += 1;
                }
            }
        }
    }
    same
}

unsafe extern "C" fn look_at(info: *mut libc::dl_phdr_info, _: usize, sum: *mut c_void) -> c_int {
    // SAFETY: glibc passes an object's headers and name.
    let info = unsafe { &*info };
    // SAFETY: the test passes its sum, which nothing else uses meanwhile.
    let sum = unsafe { &mut *sum.cast::<(usize, usize)>() };
    // SAFETY: as above.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
    let address = |header: &libc::Elf64_Phdr| info.dlpi_addr + header.p_vaddr;
    let tables = headers.iter().find(|header| header.p_type == libc::PT_GNU_EH_FRAME);
    let loads = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
    let (Some(tables), Some(first), Some(last)) = (tables, loads().next(), loads().next_back())
    else {
        return 0;
    };
    let end = address(last) + last.p_memsz;
    let found = FoundObject::new(address(first) & !4095, end, 0, address(tables));
    // SAFETY: glibc holds its lock: nothing is unloaded meanwhile.
    let name = unsafe { CStr::from_ptr(info.dlpi_name) }.to_string_lossy();
    // SAFETY: as above.
    if let Some(image) = unsafe { ElfImage::read(&found) } {
        sum.0 += 1;
        sum.1 += compare(&image, address(tables), &name);
    }
    0
}

#[test]
fn every_row_of_every_loaded_object_reads_as_gimli_reads_it() {
    // What is compiled from C++ uses more of the instructions.
    for name in [c"libstdc++.so.6", c"libcrypto.so.3", c"libpython3.11.so.1.0"] {
        // SAFETY: libraries without surprising constructors; not there is as good.
        unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
    }
    let mut sum = (0_usize, 0_usize);
    // SAFETY: the callback is called with what it expects, before this returns.
    unsafe { libc::dl_iterate_phdr(Some(look_at), (&raw mut sum).cast()) };
    let (objects, rows) = sum;
    println!("{rows} places in {objects} objects");
    assert!(objects >= 4 && rows > 20_000, "{rows} places in {objects} objects");
}
