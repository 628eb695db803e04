//! Finds a symbol that a loaded object exports, without the loader: no lock, no call.

use core::ffi::CStr;
use core::ops::Range;

use tftrace_format::page::{u32_at, u64_at};

use super::elf_image::ElfImage;

const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6FFF_FEF5;
const SYMBOL_BYTES: u64 = 24;

/// The exported symbols of an object.
pub(crate) struct ElfSymbols<'a> {
    image: &'a ElfImage,
    strings: u64,
    symbols: u64,
    hash: u64,
}

fn gnu_hash(name: &[u8]) -> u32 {
    name.iter().fold(5381u32, |hash, &byte| hash.wrapping_mul(33).wrapping_add(u32::from(byte)))
}

impl<'a> ElfSymbols<'a> {
    /// The symbol table of an object; `None` if it has none with a GNU hash.
    pub(crate) fn of(image: &'a ElfImage) -> Option<Self> {
        let mut found = Self { image, strings: 0, symbols: 0, hash: 0 };
        for entry in image.dynamic().chunks_exact(16) {
            let (tag, value) = (u64_at(entry, 0), u64_at(entry, 8));
            match tag {
                0 => break,
                DT_STRTAB => found.strings = image.address(value),
                DT_SYMTAB => found.symbols = image.address(value),
                DT_GNU_HASH => found.hash = image.address(value),
                _ => {}
            }
        }
        (found.strings != 0 && found.symbols != 0 && found.hash != 0).then_some(found)
    }

    fn word(&self, address: u64) -> Option<u32> {
        self.image.from(address).get(..4).map(|bytes| u32_at(bytes, 0))
    }

    /// The address of a symbol that the object defines.
    pub(crate) fn find(&self, name: &CStr) -> Option<u64> {
        self.find_code(name).map(|code| code.start)
    }

    /// The addresses of a function that the object defines.
    pub(crate) fn find_code(&self, name: &CStr) -> Option<Range<u64>> {
        let wanted = gnu_hash(name.to_bytes());
        let (buckets, first) = (self.word(self.hash)?, self.word(self.hash.wrapping_add(4))?);
        let filter_words = u64::from(self.word(self.hash.wrapping_add(8))?);
        let bucket_table = self.hash.wrapping_add(16).wrapping_add(filter_words.wrapping_mul(8));
        let chain_table = bucket_table.wrapping_add(u64::from(buckets).wrapping_mul(4));
        let bucket = u64::from(wanted.checked_rem(buckets)?);
        let mut index = self.word(bucket_table.wrapping_add(bucket.wrapping_mul(4)))?;
        if index < first {
            return None;
        }
        loop {
            let chain = u64::from(index.wrapping_sub(first)).wrapping_mul(4);
            let hash = self.word(chain_table.wrapping_add(chain))?;
            if hash | 1 == wanted | 1
                && let Some(found) = self.defined(index, name.to_bytes_with_nul())
            {
                return Some(found);
            }
            if hash & 1 != 0 {
                return None;
            }
            index = index.checked_add(1)?;
        }
    }

    /// The addresses of a symbol, if it has this name and is defined here.
    fn defined(&self, index: u32, name: &[u8]) -> Option<Range<u64>> {
        let place = self.symbols.wrapping_add(u64::from(index).wrapping_mul(SYMBOL_BYTES));
        let symbol = self.image.from(place).get(..SYMBOL_BYTES as usize)?;
        let (name_at, section) = (u64::from(u32_at(symbol, 0)), u32_at(symbol, 4) >> 16);
        let start = self.image.bias().wrapping_add(u64_at(symbol, 8));
        let end = start.wrapping_add(u64_at(symbol, 16));
        let same = self.image.from(self.strings.wrapping_add(name_at)).starts_with(name);
        (same && section != 0).then_some(start..end)
    }
}
