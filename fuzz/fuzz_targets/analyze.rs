//! The analysis from end to end, over traces of programs that do impossible things.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let trace = match bytes.first() {
        Some(kind) if kind & 2 != 0 => tftrace_fuzz::pages(&bytes[1..]),
        _ => tftrace_fuzz::program(bytes),
    };
    tftrace_fuzz::examine(&trace);
});
