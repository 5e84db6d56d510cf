//! MCP protocol core: frames, eras, framing, merging. Pure: bytes in, bytes and decisions out.
//!
//! What is absent on purpose: sockets, tasks, clocks, environment, randomness.

pub mod asked;
pub mod cursor;
pub mod detect;
pub mod envelope;
pub mod error;
pub mod frame;
pub mod framing;
pub mod id;
pub mod limits;
pub mod merge;
pub mod method;
pub mod modern;
pub mod names;
pub mod original;
pub mod param_headers;
pub mod pending;
pub mod resource;
pub mod scan;
pub mod splice;
pub mod sse;
pub mod subscription;
pub mod translate;
pub mod version;
