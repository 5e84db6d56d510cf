//! The server side: HTTP requests and their answers within bounds, and byte streams. Changes when backends are reached
//! differently.

pub mod body;
pub mod events;
pub mod http;
pub mod reach;
pub mod reference;
pub mod sse;
pub mod tcp;
pub mod websocket;
