//! Finds the interpreter among the objects on a stack, by the symbols it exports.

use core::ffi::CStr;
use core::mem::transmute;
use core::sync::atomic::{AtomicBool, Ordering};

use tftrace_format::page::u64_at;

use super::code_table::CodeTable;
use super::last_collection::LastCollection;
use super::layout::{Collector, Layout};
use super::{Interpreter, blocks};
use crate::capture::elf_image::ElfImage;
use crate::capture::elf_symbols::ElfSymbols;
use crate::process::{Process, notice};
use crate::system_call;

static SAID: AtomicBool = AtomicBool::new(false);

/// Looks whether an object that was just seen on a stack is a CPython interpreter.
pub(crate) fn consider(process: &Process, image: &ElfImage) {
    if process.python.get().is_some() {
        return;
    }
    let Some(symbols) = ElfSymbols::of(image) else { return };
    let Some(thread_state) = symbols.find(c"PyGILState_GetThisThreadState") else { return };
    match interpreter(image, &symbols, thread_state) {
        Ok(interpreter) => {
            let Ok(place) = system_call::map_private(size_of::<Interpreter>()) else { return };
            let place = place.cast::<Interpreter>();
            // SAFETY: a private mapping that is large and aligned enough, and stays for ever.
            unsafe { place.write(interpreter) };
            process.python.set(place);
        }
        Err(why) => {
            // Once for the program and the children that it forks.
            if !SAID.swap(true, Ordering::Relaxed) {
                notice::say(&[b"tftrace: ", why, b": call stacks have no Python functions"]);
            }
        }
    }
}

fn interpreter(
    image: &ElfImage,
    symbols: &ElfSymbols<'_>,
    thread_state: u64,
) -> Result<Interpreter, &'static [u8]> {
    let unknown = b"this version of CPython is not known (3.9 to 3.14 are)".as_slice();
    let find = |name: &CStr| symbols.find(name).ok_or(unknown);
    // Empty if the symbol is not data of the object's file.
    let data = |address: u64| image.from(address);
    let version = match symbols.find(c"Py_Version") {
        Some(place) => {
            let number = data(place).get(..8).map(|bytes| u64_at(bytes, 0)).ok_or(unknown)?;
            ((number >> 24) as u8, (number >> 16) as u8)
        }
        // Before 3.11 the version is known by what it was the first to export.
        None if symbols.find(c"Py_NewRef").is_some() => (3, 10),
        None => {
            find(c"PyFrame_GetCode")?;
            (3, 9)
        }
    };
    if symbols.find(c"_Py_PrintReferences").is_some() {
        return Err(b"CPython built with Py_TRACE_REFS is not supported");
    }
    let layout = Layout::of(version).ok_or(unknown)?;
    let loop_code = match layout.has_no_c_frames() {
        true => Some(symbols.find_code(c"_PyEval_EvalFrameDefault").ok_or(unknown)?),
        false => None,
    };
    let is_finalizing = if version >= (3, 13) {
        // `_Py_DebugOffsets`: a magic, the version, and whether there is no GIL.
        let runtime = data(find(c"_PyRuntime")?);
        let head = runtime.get(..24).ok_or(unknown)?;
        if !head.starts_with(b"xdebugpy") {
            return Err(unknown);
        }
        if u64_at(head, 16) != 0 {
            return Err(b"CPython without a GIL is not supported");
        }
        find(c"Py_IsFinalizing")?
    } else {
        find(c"_Py_IsFinalizing")?
    };
    let main = symbols.find(c"PyInterpreterState_Main").map(|main| {
        // SAFETY: the C function of this name and type.
        unsafe { transmute::<u64, unsafe extern "C" fn() -> u64>(main) }
    });
    let current_thread = match version {
        (3, 11) => symbols.find(c"_PyThreadState_UncheckedGet"),
        // What that is called then reads a variable of the thread's, for which the loader may have to do something.
        (3, 12..) => Some(thread_state),
        _ => None,
    };
    let current_thread = current_thread.map(|current| {
        // SAFETY: as above.
        unsafe { transmute::<u64, unsafe extern "C" fn() -> u64>(current) }
    });
    let codes = CodeTable::new().ok_or(b"no memory for Python's code objects".as_slice())?;
    Ok(Interpreter {
        layout,
        // SAFETY: the C function of this name and type.
        thread_state: unsafe { transmute::<u64, unsafe extern "C" fn() -> u64>(thread_state) },
        current_thread,
        // SAFETY: as above.
        is_finalizing: unsafe { transmute::<u64, unsafe extern "C" fn() -> i32>(is_finalizing) },
        was_finalizing: AtomicBool::new(false),
        last_collection: LastCollection::new(Collector::of(version), main),
        codes,
        loop_code,
        allocators: blocks::Api::of(symbols),
    })
}
