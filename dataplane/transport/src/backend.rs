//! The server side of HTTP: sending requests and reading answers within bounds. Changes with the HTTP client.

pub mod body;
pub mod events;
pub mod http;
pub mod reference;
pub mod sse;
pub mod websocket;
