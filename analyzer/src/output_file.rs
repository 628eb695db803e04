//! Writes a file whole, or not at all; and never through a link that somebody else put there.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Writes `bytes` to `path`: into a new file beside it, which then takes its name.
///
/// What stands there is replaced and never written to, so a link leads nowhere. A device or a pipe
/// that is named itself, or by `/dev/stdout`, is written to.
///
/// # Errors
/// What the system says.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if is_stream(path) {
        return OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    let (beside, mut file) = create_beside(path)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What is half written helps nobody.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn is_stream(path: &Path) -> bool {
    let is_special = |about: fs::Metadata| !about.is_file() && !about.is_dir();
    match fs::symlink_metadata(path) {
        Ok(link) if link.is_symlink() => {
            path.starts_with("/dev") && fs::metadata(path).is_ok_and(is_special)
        }
        about => about.is_ok_and(is_special),
    }
}

/// A new file in the same directory, and its name.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    for number in 0..1_000 {
        let mut fresh = OsString::from(".");
        fresh.push(name);
        fresh.push(format!(".{}.{number}", std::process::id()));
        let beside = path.with_file_name(fresh);
        match OpenOptions::new().write(true).create_new(true).open(&beside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|file| (beside, file)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_is_replaced_and_what_it_leads_to_is_not_touched() {
        let place = tempfile::tempdir().unwrap();
        let [precious, page] = ["precious", "trace.html"].map(|name| place.path().join(name));
        fs::write(&precious, "precious").unwrap();
        symlink(&precious, &page).unwrap();
        write(&page, b"page").unwrap();
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
        assert!(fs::symlink_metadata(&page).unwrap().is_file());
        write(&page, b"again").unwrap();
        assert_eq!(fs::read_to_string(&page).unwrap(), "again");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "nothing is left over");
    }

    #[test]
    fn a_failure_leaves_nothing_behind_and_a_device_is_written_to() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("taken")).unwrap();
        assert!(write(&place.path().join("taken"), b"page").is_err());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        assert!(write(&place.path().join("missing/page"), b"page").is_err());
        write(Path::new("/dev/null"), b"page").unwrap();
    }
}
