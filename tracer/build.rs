//! Lets the library run with an older glibc than the one it is linked on.
//!
//! A symbol is bound to its newest version on the machine that links. Since glibc 2.34 the functions
//! of libdl and libpthread have a new one, in libc. The stand-ins built here have the names and the
//! versions of before, which every later glibc still defines; the loader takes the real libraries.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// For each library: the name to link with, the name to load, and its functions of version `VERSION`.
const LIBRARIES: [(&str, &str, &[&str]); 2] = [
    ("libdl.so", "libdl.so.2", &["dladdr", "dlclose", "dlerror", "dlopen"]),
    (
        "libpthread.so",
        "libpthread.so.0",
        &[
            "pthread_attr_setstacksize",
            "pthread_key_create",
            "pthread_key_delete",
            "pthread_setspecific",
        ],
    ),
];
/// The first version of glibc for x86-64.
const VERSION: &str = "GLIBC_2.2.5";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=CC");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    for (link_name, load_name, functions) in LIBRARIES {
        build(Path::new(&out), link_name, load_name, functions);
    }
    println!("cargo::rustc-link-search=native={out}");
}

fn build(out: &Path, link_name: &str, load_name: &str, functions: &[&str]) {
    let source = out.join(format!("{link_name}.c"));
    let versions = out.join(format!("{link_name}.map"));
    let bodies: String =
        functions.iter().map(|function| format!("void {function}(void) {{}}\n")).collect();
    fs::write(&source, bodies).expect("OUT_DIR is writable");
    let names = functions.join("; ");
    fs::write(&versions, format!("{VERSION} {{ global: {names}; local: *; }};\n"))
        .expect("OUT_DIR is writable");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let status = Command::new(&compiler)
        .args(["-shared", "-nostdlib", "-fno-builtin", "-w"])
        .arg(format!("-Wl,-soname,{load_name}"))
        .arg(format!("-Wl,--version-script,{}", versions.display()))
        .arg("-o")
        .arg(out.join(link_name))
        .arg(&source)
        .status();
    let built = status.is_ok_and(|status| status.success());
    assert!(built, "{compiler} could not build {link_name}: is a C compiler installed?");
}
