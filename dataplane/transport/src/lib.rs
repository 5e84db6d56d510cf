//! Bytes to frames and back: HTTP, SSE, WebSocket, child processes, TLS.

pub mod backend;
pub mod binary;
pub mod frontend;
pub mod stdio;
pub mod tls;
pub mod websocket;
