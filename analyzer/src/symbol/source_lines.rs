//! Functions and source lines of addresses, inlined functions included, from DWARF.

use std::borrow::Cow;

use addr2line::Context;
use addr2line::gimli::{self, DwarfSections, EndianSlice, RunTimeEndian};
use object::{Object, ObjectSection};

/// A function at an address. Innermost first; every one but the last is inlined into the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SourcePlace {
    /// The name, mangled as the compiler wrote it; `None` when DWARF has no name here.
    pub(super) function: Option<Vec<u8>>,
    /// File and line.
    pub(super) location: Option<String>,
}

/// Whether the file has DWARF.
pub(super) fn has_dwarf(file: &object::File<'_>) -> bool {
    file.section_by_name(".debug_info").is_some_and(|section| section.size() > 0)
}

/// The places of each address; empty where DWARF says nothing or makes no sense.
pub(super) fn source_places(file: &object::File<'_>, addresses: &[u64]) -> Vec<Vec<SourcePlace>> {
    let nothing = || vec![Vec::new(); addresses.len()];
    let load = |id: gimli::SectionId| -> Result<Cow<'_, [u8]>, gimli::Error> {
        let section = file.section_by_name(id.name());
        // A compressed section that cannot be unpacked is as good as none.
        Ok(section.and_then(|section| section.uncompressed_data().ok()).unwrap_or_default())
    };
    let Ok(sections) = DwarfSections::load(load) else { return nothing() };
    let endian = if file.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
    let dwarf = sections.borrow(|section| EndianSlice::new(section, endian));
    let Ok(context) = Context::from_dwarf(dwarf) else { return nothing() };
    addresses.iter().map(|&address| places(&context, address).unwrap_or_default()).collect()
}

fn places(
    context: &Context<EndianSlice<'_, RunTimeEndian>>,
    address: u64,
) -> Result<Vec<SourcePlace>, gimli::Error> {
    let mut found = Vec::new();
    let mut frames = context.find_frames(address).skip_all_loads()?;
    while let Some(frame) = frames.next()? {
        let function = frame.function.map(|function| function.name.slice().to_vec());
        let location = frame.location.and_then(|location| {
            let file = location.file?;
            Some(location.line.map_or(file.to_owned(), |line| format!("{file}:{line}")))
        });
        found.push(SourcePlace { function, location });
    }
    Ok(found)
}
