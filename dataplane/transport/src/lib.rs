//! Bytes to frames and back: HTTP, SSE, child processes, TLS.

pub mod backend;
pub mod frontend;
pub mod stdio;
pub mod tls;
