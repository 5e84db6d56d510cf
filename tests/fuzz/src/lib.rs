//! Bodies of the fuzz targets. Each takes any bytes and panics when the protocol core breaks a promise, so that the same
//! code serves libFuzzer and a plain test over the corpus.

mod envelope;
mod lists;
mod original;
mod params;
mod streams;
mod translate;

pub use envelope::fuzz_envelope;
pub use lists::{fuzz_cursor, fuzz_merge};
pub use original::{fuzz_binary, fuzz_wrapper};
pub use params::fuzz_params;
pub use streams::{fuzz_framing, fuzz_sse};
pub use translate::fuzz_translate;
