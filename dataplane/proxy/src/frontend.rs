//! Frontends other than Streamable HTTP. Changes when one is added.
//!
//! Each is a thin transport around the same core, [`connection`], which serves messages through the same stages as HTTP.

pub(crate) mod connection;
pub(crate) mod enveloped;
pub(crate) mod sse;
pub(crate) mod stdio;
pub(crate) mod tcp;
pub(crate) mod websocket;
