//! What a command would execute: the search in PATH, and the `#!` lines of scripts.
//!
//! Never runs anything.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The kernel gives up after as many scripts that name scripts.
const LONGEST_CHAIN: usize = 5;
/// The kernel reads as much of a `#!` line.
const SHEBANG_BYTES: u64 = 256;
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "busybox"];

/// What a command would execute.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// What to execute instead of the command: `#!/usr/bin/env python3` would have `env` traced.
    pub(crate) command: Vec<OsString>,
    /// The file with the machine code.
    pub(crate) image: PathBuf,
    /// Set if that is a shell, which seldom is what a user means to trace.
    pub(crate) shell_of: Option<PathBuf>,
}

/// Why a command names no program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoProgram {
    /// Not there.
    #[error("{}: no such program", .0.display())]
    NotFound(PathBuf),
    /// There, but not to be run.
    #[error("{}: is not executable", .0.display())]
    NotExecutable(PathBuf),
    /// Its `#!` line leads nowhere.
    #[error("{}: its first line names {}, which is no program here", .0.display(), .1.display())]
    NoInterpreter(PathBuf, PathBuf),
}

/// Finds out what `command` would execute, with `path` as PATH.
pub(crate) fn find(command: &[OsString], path: &OsStr) -> Result<Program, NoProgram> {
    let mut command = command.to_vec();
    let mut shell_of = None;
    let name = command.first().cloned().unwrap_or_default();
    let mut image = search(&name, path)?;
    for _ in 0..LONGEST_CHAIN {
        let Some(line) = shebang(&image) else { break };
        let script = image.clone();
        let missing = |name: &Path| NoProgram::NoInterpreter(script.clone(), name.to_path_buf());
        let interpreter = Path::new(OsStr::from_bytes(line.interpreter()));
        image = search(interpreter.as_os_str(), path).map_err(|_| missing(interpreter))?;
        let words = line.command_of_env();
        if let Some(name) = words.first() {
            image = search(name, path).map_err(|_| missing(Path::new(name)))?;
            command.splice(..1, words.into_iter().chain([script.clone().into_os_string()]));
        }
        let shell = image.file_name().is_some_and(|it| SHELLS.iter().any(|shell| it == *shell));
        shell_of = shell.then_some(script);
    }
    Ok(Program { command, image, shell_of })
}

fn search(name: &OsStr, path: &OsStr) -> Result<PathBuf, NoProgram> {
    let here = PathBuf::from(name);
    if name.as_bytes().contains(&b'/') {
        return match executable(&here) {
            Some(true) => Ok(here),
            Some(false) => Err(NoProgram::NotExecutable(here)),
            None => Err(NoProgram::NotFound(here)),
        };
    }
    let found: Vec<_> = std::env::split_paths(path)
        .map(|directory| directory.join(name))
        .filter_map(|file| Some((executable(&file)?, file)))
        .collect();
    if let Some((_, file)) = found.iter().find(|(executable, _)| *executable) {
        return Ok(file.clone());
    }
    match found.into_iter().next() {
        Some((_, file)) if !name.is_empty() => Err(NoProgram::NotExecutable(file)),
        _ => Err(NoProgram::NotFound(here)),
    }
}

/// Whether a file may be executed; `None` if there is none.
fn executable(file: &Path) -> Option<bool> {
    let metadata = std::fs::metadata(file).ok()?;
    Some(metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The words behind `#!`, as the kernel splits them: an interpreter and at most one argument.
struct Shebang(Vec<u8>);

fn shebang(file: &Path) -> Option<Shebang> {
    let mut start = Vec::new();
    File::open(file).ok()?.take(SHEBANG_BYTES).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    Some(Shebang(line.trim_ascii().to_vec()))
}

impl Shebang {
    fn interpreter(&self) -> &[u8] {
        self.0.split(u8::is_ascii_whitespace).next().unwrap_or_default()
    }

    /// What `env` would execute. Empty if the interpreter is another, or `env` is asked for more.
    fn command_of_env(&self) -> Vec<OsString> {
        let mut words = self.0.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        if words.next().is_none_or(|interpreter| !interpreter.ends_with(b"/env")) {
            return Vec::new();
        }
        let mut words = words.peekable();
        words.next_if_eq(&&b"-S"[..]);
        let words: Vec<_> = words.map(|word| OsString::from_vec(word.to_vec())).collect();
        let plain = words.first().is_some_and(|first| {
            !first.as_bytes().starts_with(b"-") && !first.as_bytes().contains(&b'=')
        });
        if plain { words } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(directory: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn look(command: &[&OsStr], path: &Path) -> Result<Program, NoProgram> {
        let command: Vec<_> = command.iter().map(OsString::from).collect();
        find(&command, path.as_os_str())
    }

    #[test]
    fn env_in_a_script_gives_way_to_what_it_would_execute() {
        let place = tempfile::tempdir().unwrap();
        let python = script(place.path(), "python9", "\x7fELF", 0o755);
        for line in ["#!/usr/bin/env python9", "#! /usr/bin/env -S python9 -u"] {
            let serve = script(place.path(), "serve", &format!("{line}\nx = 1\n"), 0o755);
            let found = look(&[serve.as_os_str(), OsStr::new("--port")], place.path()).unwrap();
            assert_eq!(found.image, python);
            assert_eq!(found.command.first().unwrap(), "python9");
            assert_eq!(
                found.command[found.command.len() - 2..],
                [serve.as_os_str(), OsStr::new("--port")]
            );
            assert_eq!(found.shell_of, None);
        }
    }

    #[test]
    fn a_script_of_a_shell_is_noticed_and_left_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let wrapper = script(place.path(), "python", "#!/bin/sh -e\nexec true\n", 0o755);
        let found = look(&[OsStr::new("python")], place.path()).unwrap();
        assert_eq!(found.command, ["python"]);
        assert_eq!(found.image, Path::new("/bin/sh"));
        assert_eq!(found.shell_of, Some(wrapper));
    }

    #[test]
    fn what_is_not_there_or_not_executable_is_named() {
        let place = tempfile::tempdir().unwrap();
        script(place.path(), "plain", "text", 0o644);
        let orphan = script(place.path(), "orphan", "#!/nowhere/python\n", 0o755);
        let looked = |name: &OsStr| look(&[name], place.path()).unwrap_err();
        assert!(matches!(looked(OsStr::new("plain")), NoProgram::NotExecutable(_)));
        assert!(matches!(looked(OsStr::new("absent")), NoProgram::NotFound(_)));
        assert!(matches!(looked(OsStr::new("")), NoProgram::NotFound(_)));
        assert!(matches!(looked(orphan.as_os_str()), NoProgram::NoInterpreter(..)));
    }
}
