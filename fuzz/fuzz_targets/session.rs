//! See `fuzz_checks::session`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| watchkeeper_fuzz::fuzz_checks::session(input));
