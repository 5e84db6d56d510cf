//! The data plane: one door from any MCP client to any MCP server.

pub mod config;
