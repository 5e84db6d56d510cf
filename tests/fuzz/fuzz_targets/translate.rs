//! libFuzzer entry of `bridge_fuzz::fuzz_translate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bridge_fuzz::fuzz_translate(data));
