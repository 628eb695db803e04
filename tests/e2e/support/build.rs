//! Builds, once a test run: the tools under test, and the C programs that are traced.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

/// The tools under test, side by side as they are installed.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) launcher: PathBuf,
    pub(crate) library: PathBuf,
    pub(crate) analyze: PathBuf,
}

/// Builds the tools at the first call.
pub(crate) fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| {
        // The library alone: features that other packages switch on must not reach it.
        cargo(&["-p", "tftrace-tracer", "--profile", "preload"]);
        cargo(&["-p", "tftrace-analyzer", "--release"]);
        let place = scratch().join("tools");
        std::fs::create_dir_all(&place).unwrap();
        let target = target_directory();
        Tools {
            launcher: install(Path::new(env!("CARGO_BIN_EXE_tftrace")), &place),
            library: install(&target.join("preload/libtftrace.so"), &place),
            analyze: install(&target.join("release/tftrace-analyze"), &place),
        }
    })
}

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory that is kept between runs.
pub(crate) fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e")
}

fn target_directory() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

fn cargo(arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO"));
    command.arg("build").args(arguments).current_dir(repository());
    command.arg("--target-dir").arg(target_directory());
    must_succeed(&mut command);
}

/// By renaming: a program that is still running keeps the old file.
fn install(file: &Path, place: &Path) -> PathBuf {
    let target = place.join(file.file_name().unwrap());
    let fresh = place.join(format!("new.{}", std::process::id()));
    std::fs::copy(file, &fresh).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    std::fs::rename(&fresh, &target).unwrap();
    target
}

/// Runs a tool that is no test's subject; fails with its words.
pub(crate) fn must_succeed(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let words = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {}\n{words}", done.status);
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Whether there is such a program. Says that a test is skipped if not.
pub(crate) fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {tool} is not installed");
    }
    found
}

/// Compiles `tests/programs/SOURCE` with these flags, once; gives the program.
///
/// Calls are never folded away, and a call in the last place stays a call with a frame of its own.
pub(crate) fn compile(source: &str, flags: &[&str]) -> PathBuf {
    type Built = HashMap<String, PathBuf>;
    static BUILT: OnceLock<Mutex<Built>> = OnceLock::new();
    let key = format!("{source} {}", flags.join(" "));
    let mut built = BUILT.get_or_init(Mutex::default).lock().unwrap();
    if let Some(program) = built.get(&key) {
        return program.clone();
    }
    let place = scratch().join("programs").join(std::process::id().to_string());
    std::fs::create_dir_all(&place).unwrap();
    let stem = source.split('.').next().unwrap();
    let suffix = if flags.contains(&"-shared") { ".so" } else { "" };
    let program = place.join(format!("{stem}-{}{suffix}", built.len()));
    let compiler = if source.ends_with(".cpp") { "g++" } else { "cc" };
    let folder = repository().join("tests/programs");
    must_succeed(
        Command::new(compiler)
            .args(["-O1", "-g", "-pthread", "-fno-builtin", "-fno-optimize-sibling-calls", "-o"])
            .arg(&program)
            .arg(folder.join(source))
            .args(flags)
            .arg("-ldl"),
    );
    built.insert(key, program.clone());
    program
}
