//! libFuzzer entry of `bridge_fuzz::fuzz_sse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bridge_fuzz::fuzz_sse(data));
