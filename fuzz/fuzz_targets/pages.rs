//! The reader behind its CRCs: pages, chunks, the codec and records of arbitrary content.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tftrace_fuzz::read(&tftrace_fuzz::pages(bytes)));
