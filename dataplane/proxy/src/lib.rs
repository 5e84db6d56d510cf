//! The data plane: one door from any MCP client to any MCP server.
//!
//! Start reading at `pipeline`, the stages of one request; `run` builds everything that the stages use.

mod access;
pub mod adapter;
pub mod admin;
pub mod args;
mod cluster;
pub mod config;
mod crossing;
pub mod discovery;
mod frontend;
mod gateway;
mod listener;
mod merged;
mod observe;
mod pipeline;
mod run;
mod session;
mod upstream;
pub mod welcome;

pub use run::{Server, StartError};
