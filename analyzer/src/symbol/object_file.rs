//! One object file, opened for the addresses of a trace: checks that it is the right build.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use object::Object;

use super::demangle::demangle;
use super::function_symbols::function_names;
use super::source_lines::{has_dwarf, source_places};
use crate::input::MappedFile;

/// A function at an address: readable name, file and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    pub(super) location: Option<String>,
}

/// The functions of each of the sorted `addresses`, innermost first; or why there are none.
pub(super) fn look_up(
    path: &[u8],
    build_id: &[u8],
    addresses: &[u64],
) -> Result<Vec<Vec<Function>>, &'static str> {
    let path = Path::new(OsStr::from_bytes(path.strip_suffix(b" (deleted)").unwrap_or(path)));
    let mapped = MappedFile::open(path).map_err(|_| "the file is gone or cannot be read")?;
    let file = object::File::parse(mapped.bytes()).map_err(|_| "the file is no ELF file")?;
    let found = file.build_id().ok().flatten().unwrap_or_default();
    if !build_id.is_empty() && found != build_id {
        return Err("the file is another build than the one that was traced");
    }
    let debug_file = debug_file(build_id).filter(|_| !has_dwarf(&file));
    let debug = debug_file.as_ref().and_then(|debug| object::File::parse(debug.bytes()).ok());
    let dwarf = debug.as_ref().filter(|debug| has_dwarf(debug)).unwrap_or(&file);
    let mut names = function_names(&file, addresses);
    if let Some(debug) = &debug {
        for (name, better) in names.iter_mut().zip(function_names(debug, addresses)) {
            *name = better.or(*name);
        }
    }
    let places = if has_dwarf(dwarf) { source_places(dwarf, addresses) } else { Vec::new() };
    let mut places = places.into_iter();
    let functions = names.into_iter().map(|name| {
        let places = places.next().unwrap_or_default();
        let last = places.len().saturating_sub(1);
        let mut functions: Vec<Function> = places
            .into_iter()
            .enumerate()
            .map(|(at, place)| {
                // The symbol table names the function around the address, not one inlined into it.
                let symbol = name.filter(|_| at == last);
                let name = place.function.as_deref().or(symbol).map(demangle);
                Function { name, location: place.location }
            })
            .collect();
        if functions.is_empty() {
            functions.push(Function { name: name.map(demangle), location: None });
        }
        functions
    });
    Ok(functions.collect())
}

/// The separate debug file that distributions install under the build id.
fn debug_file(build_id: &[u8]) -> Option<MappedFile> {
    let (first, rest) = build_id.split_first()?;
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = PathBuf::from(format!("/usr/lib/debug/.build-id/{first:02x}/{rest}.debug"));
    MappedFile::open(&path).ok()
}
