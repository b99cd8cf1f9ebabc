//! See `fuzz_checks::h264`.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| watchkeeper_fuzz::fuzz_checks::h264(input));
