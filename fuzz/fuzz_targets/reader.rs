//! The reader over arbitrary bytes: damage is data, never a panic.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tftrace_fuzz::read(&tftrace_fuzz::headed(bytes)));
