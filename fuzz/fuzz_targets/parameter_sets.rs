//! See `fuzz_checks::parameter_sets`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| watchkeeper_fuzz::fuzz_checks::parameter_sets(input));
