//! The client side of HTTP: reading requests within bounds and writing answers. Changes with the HTTP edge.

pub mod body;
pub mod events;
pub mod handshake;
pub mod patience;
pub mod request;
