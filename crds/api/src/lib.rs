//! The custom resources of the group `mcp.bridge`, and the words of their status. The operator and tests use them; the
//! data plane never sees them, it knows compiled configuration alone.
//!
//! What the API server admits can be decoded: the schema is at least as strict as the types. What the operator decides
//! by default is not in the schema, because a schema's default is written into each object and could never change.

mod choice;
pub mod condition;
pub mod event;
pub mod manifest;
pub mod meta;
pub mod reference;
mod schema;
pub mod service;
#[allow(clippy::doc_markdown, rustdoc::bare_urls, reason = "kubectl explain shows the texts as they are")]
#[allow(unreachable_pub, reason = "KubeSchema copies each struct, with its visibility, into a function")]
pub mod v1alpha1;

/// The API group. Annotations and labels of ours begin with it, too.
pub const GROUP: &str = "mcp.bridge";
