//! Wire formats of the original gateway, so that its clients connect unchanged: the JSON envelope, the binary protocol on
//! TCP in both dialects, and the choice of a namespace. Pure, like the rest of this package.
//!
//! Changes when another of the original's formats is served.
//!
//! | format | file |
//! |---|---|
//! | envelope around JSON-RPC (WebSocket, HTTP, dialect R), auth wrapper (dialect G) | [`envelope`] |
//! | frames on TCP | [`binary`], [`negotiation`] |
//! | life of a TCP connection, serving and calling | [`connection`], [`client`] |
//! | which namespace a message is for | [`route`] |
//! | limits of what clients send, and what the gateway writes itself | [`input`], [`reply`] |
//!
//! Two dialects of the binary protocol exist, because the original's own client and gateway never spoke the same one.
//! *G* is the gateway's (and the published one), *R* the router's.

pub mod binary;
pub mod client;
pub mod connection;
pub mod envelope;
pub mod input;
pub mod negotiation;
pub mod reply;
pub mod route;
