//! MCP protocol core: frames, eras, framing, merging. Pure: bytes in, bytes and decisions out.

pub mod framing;
pub mod sse;
