//! Where `libtftrace.so` is: beside this program, or in `../lib`.

use std::path::{Path, PathBuf};

/// The file that LD_PRELOAD names.
const LIBRARY: &str = "libtftrace.so";

/// Why there is no library to preload.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LibraryError {
    /// It was not installed together with this program.
    #[error("{LIBRARY} is neither in {} nor in {}: install both together", .0.display(), .1.display())]
    Missing(PathBuf, PathBuf),
    /// LD_PRELOAD is a list, and has no way to quote.
    #[error("{}: LD_PRELOAD cannot hold a path with a space or a colon: install tftrace elsewhere", .0.display())]
    Unspeakable(PathBuf),
    /// Even `/proc` does not know.
    #[error("cannot find out where this program is: {0}")]
    Lost(std::io::Error),
}

/// The absolute path of the library.
pub(crate) fn beside_this_program() -> Result<PathBuf, LibraryError> {
    // Resolves symbolic links: a link to `tftrace` in ~/bin finds the library of its target.
    let program = std::env::current_exe().map_err(LibraryError::Lost)?;
    beside(program.parent().unwrap_or(Path::new("/")))
}

fn beside(directory: &Path) -> Result<PathBuf, LibraryError> {
    let here = directory.to_path_buf();
    let lib = directory.parent().unwrap_or(directory).join("lib");
    let found = [&here, &lib].into_iter().map(|place| place.join(LIBRARY)).find(|it| it.is_file());
    let found = found.ok_or(LibraryError::Missing(here, lib))?;
    if found.to_string_lossy().contains([' ', ':']) {
        return Err(LibraryError::Unspeakable(found));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_found_beside_the_program_and_in_lib() {
        let place = tempfile::tempdir().unwrap();
        let (bin, lib) = (place.path().join("bin"), place.path().join("lib"));
        std::fs::create_dir(&bin).unwrap();
        std::fs::create_dir(&lib).unwrap();
        assert!(matches!(beside(&bin), Err(LibraryError::Missing(..))));
        std::fs::write(lib.join(LIBRARY), "").unwrap();
        assert_eq!(beside(&bin).unwrap(), lib.join(LIBRARY));
        std::fs::write(bin.join(LIBRARY), "").unwrap();
        assert_eq!(beside(&bin).unwrap(), bin.join(LIBRARY));
    }

    #[test]
    fn a_path_that_ld_preload_cannot_hold_is_refused() {
        let place = tempfile::Builder::new().prefix("with space").tempdir().unwrap();
        std::fs::write(place.path().join(LIBRARY), "").unwrap();
        assert!(matches!(beside(place.path()), Err(LibraryError::Unspeakable(_))));
    }
}
