//! Version `v1alpha1` of the group. Changes when a kind is added.

pub mod backend;
pub mod common;
pub mod gateway;
pub mod traffic;

pub use backend::{McpBackend, McpBackendSpec, McpBackendStatus};
pub use gateway::{McpGateway, McpGatewaySpec, McpGatewayStatus};
