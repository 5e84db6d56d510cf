//! libFuzzer entry of `bridge_fuzz::fuzz_binary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bridge_fuzz::fuzz_binary(data));
