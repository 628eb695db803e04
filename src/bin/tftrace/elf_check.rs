//! Whether the loader would take LD_PRELOAD for an executable, and why not.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader, Sym};
use object::{Endianness, FileKind, elf};

/// The machine that this tftrace, and the library beside it, were built for.
const MACHINE: u16 = if cfg!(target_arch = "aarch64") { elf::EM_AARCH64 } else { elf::EM_X86_64 };

/// Why a program cannot be traced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Untraceable {
    /// No loader, no preloading.
    #[error(
        "is a static executable: no library can be preloaded into it. Use a dynamic build of it"
    )]
    Static,
    /// The loader ignores LD_PRELOAD when the program gains privileges.
    #[error(
        "is setuid or setgid: the loader refuses LD_PRELOAD for it. Run it as its owner, or a copy of it without that bit"
    )]
    Setuid,
    /// Half the size of ours.
    #[error("is a 32-bit program: this tftrace traces 64-bit ones")]
    Narrow,
    /// Not the machine we run on.
    #[error(
        "is built for another architecture (ELF machine {0}): use the tftrace of that architecture"
    )]
    Machine(u16),
    /// Another C library.
    #[error("uses the loader {0}: tftrace needs glibc")]
    Loader(String),
    /// Two interposers of malloc that each want to be first.
    #[error(
        "is built with {0}, which replaces malloc itself and must be loaded first. Use a build without it"
    )]
    Sanitizer(&'static str),
    /// Neither ELF nor a script.
    #[error("is not a program that this system can run")]
    NotAProgram,
    /// It says it is ELF.
    #[error("is a damaged ELF file: {0}")]
    Damaged(#[from] object::Error),
    /// It cannot be looked at.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

const SANITIZERS: [(&[u8], &str); 4] = [
    (b"__asan_init", "AddressSanitizer"),
    (b"__tsan_init", "ThreadSanitizer"),
    (b"__msan_init", "MemorySanitizer"),
    (b"__hwasan_init", "HWAddressSanitizer"),
];

/// Says nothing if the program can be traced.
pub(crate) fn check(path: &Path) -> Result<(), Untraceable> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let gains_user = metadata.mode() & 0o4000 != 0 && metadata.uid() != own_ids()?.0;
    let gains_group = metadata.mode() & 0o2010 == 0o2010 && metadata.gid() != own_ids()?.1;
    check_contents(&ReadCache::new(file))?;
    if gains_user || gains_group { Err(Untraceable::Setuid) } else { Ok(()) }
}

/// Our effective user and group: the kernel makes them the owner of our own `/proc` entry.
fn own_ids() -> io::Result<(u32, u32)> {
    let own = std::fs::metadata("/proc/self")?;
    Ok((own.uid(), own.gid()))
}

fn check_contents(data: &ReadCache<File>) -> Result<(), Untraceable> {
    match FileKind::parse(data) {
        Ok(FileKind::Elf64) => {}
        Ok(FileKind::Elf32) => return Err(Untraceable::Narrow),
        _ => return Err(Untraceable::NotAProgram),
    }
    let header = elf::FileHeader64::<Endianness>::parse(data)?;
    let endian = header.endian()?;
    if header.e_machine(endian) != MACHINE {
        return Err(Untraceable::Machine(header.e_machine(endian)));
    }
    let mut loader = None;
    for segment in header.program_headers(endian, data)? {
        loader = loader.or(segment.interpreter(endian, data)?);
    }
    let loader = loader.ok_or(Untraceable::Static)?;
    let loader = String::from_utf8_lossy(loader);
    if loader.contains("ld-musl") {
        return Err(Untraceable::Loader(loader.into_owned()));
    }
    let symbols = header.sections(endian, data)?.symbols(endian, data, elf::SHT_DYNSYM)?;
    for symbol in symbols.iter() {
        let name = symbol.name(endian, symbols.strings())?;
        if let Some((_, sanitizer)) = SANITIZERS.iter().find(|(marker, _)| *marker == name) {
            return Err(Untraceable::Sanitizer(sanitizer));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// This test's own executable, changed by `change`.
    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> tempfile::NamedTempFile {
        let mut bytes = std::fs::read("/proc/self/exe").unwrap();
        change(&mut bytes);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn a_dynamic_program_can_be_traced() {
        check(Path::new("/proc/self/exe")).unwrap();
    }

    #[test]
    fn other_machines_and_widths_are_named() {
        let other = changed(|bytes| bytes[18] = 0xF3);
        assert!(matches!(check(other.path()), Err(Untraceable::Machine(0xF3))));
        let narrow = changed(|bytes| bytes[4] = 1);
        assert!(matches!(check(narrow.path()), Err(Untraceable::Narrow)));
    }

    #[test]
    fn a_program_without_loader_is_static() {
        // Program headers are 56 bytes from byte 64 on; PT_INTERP (3) becomes PT_NULL.
        let loaderless = changed(|bytes| {
            for header in bytes[64..64 + 56 * 16].chunks_exact_mut(56) {
                if header[..4] == [3, 0, 0, 0] {
                    header[0] = 0;
                }
            }
        });
        assert!(matches!(check(loaderless.path()), Err(Untraceable::Static)));
    }

    #[test]
    fn an_owner_s_own_setuid_bit_gains_nothing() {
        let own = changed(|_| {});
        std::fs::set_permissions(own.path(), std::fs::Permissions::from_mode(0o4755)).unwrap();
        check(own.path()).unwrap();
    }

    #[test]
    fn text_is_no_program_and_a_cut_one_is_damaged() {
        let text = changed(|bytes| *bytes = b"hello, this is nothing to run at all".to_vec());
        assert!(matches!(check(text.path()), Err(Untraceable::NotAProgram)));
        let cut = changed(|bytes| bytes.truncate(200));
        assert!(matches!(check(cut.path()), Err(Untraceable::Damaged(_))));
    }
}
