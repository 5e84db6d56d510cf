//! The resources and the template. Changes when a resource is added.

use rmcp::model::{CacheScope, ErrorData, ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde_json::json;

use crate::samples;
use crate::state::Shared;

/// The resource whose updates can be triggered.
pub(crate) const WATCHED: &str = "test://watched-resource";
/// Template of the parametric resource; the suite expands it with any id.
pub(crate) const TEMPLATE: &str = "test://template/{id}/data";
const TEXT: &str = "test://static-text";
const BINARY: &str = "test://static-binary";
const EXTRA: &str = "test://extra-resource";

/// All listed resources, in a fixed order.
pub(crate) fn list(shared: &Shared) -> Vec<Resource> {
    let mut resources = vec![
        Resource::new(TEXT, "static-text")
            .with_description("A text that never changes")
            .with_mime_type("text/plain"),
        Resource::new(BINARY, "static-binary")
            .with_description("An image that never changes")
            .with_mime_type("image/png"),
        Resource::new(WATCHED, "watched-resource")
            .with_description("A text that test_trigger_resource_update changes")
            .with_mime_type("text/plain"),
    ];
    if shared.world.extra_resource.is_on() {
        resources.push(
            Resource::new(EXTRA, "extra-resource")
                .with_description("Comes and goes with test_trigger_resource_change")
                .with_mime_type("text/plain"),
        );
    }
    resources
}

/// All templates.
pub(crate) fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new(TEMPLATE, "template-data")
            .with_description("Data of any id")
            .with_mime_type("application/json"),
    ]
}

/// True for every URI that can be read, listed or not.
pub(crate) fn exists(uri: &str) -> bool {
    matches!(uri, TEXT | BINARY | WATCHED | EXTRA) || template_id(uri).is_some()
}

/// Reads one resource. The hints are for modern clients; an unknown URI is "not found" with the URI in its data.
pub(crate) fn read(shared: &Shared, uri: &str, modern: bool) -> Result<ReadResourceResult, ErrorData> {
    let contents = match uri {
        TEXT => plain("This is the content of the static text resource.", uri),
        BINARY => ResourceContents::blob(samples::PNG, uri).with_mime_type("image/png"),
        WATCHED => {
            let revision = shared.world.revision.get();
            plain(format!("Watched resource, revision {revision}."), uri)
        }
        EXTRA if shared.world.extra_resource.is_on() => plain("The extra resource.", uri),
        _ => match template_id(uri) {
            Some(id) => {
                let data = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
                ResourceContents::text(data.to_string(), uri).with_mime_type("application/json")
            }
            None => return Err(not_found(uri)),
        },
    };
    let mut result = ReadResourceResult::new(vec![contents]);
    if modern {
        let fixed = matches!(uri, TEXT | BINARY);
        result.ttl_ms = Some(if fixed { 60_000 } else { 0 });
        result.cache_scope = Some(if fixed { CacheScope::Public } else { CacheScope::Private });
    }
    Ok(result)
}

/// The error for a URI that names nothing; the SDK picks the code of the caller's revision.
pub(crate) fn not_found(uri: &str) -> ErrorData {
    ErrorData::resource_not_found(format!("resource not found: {uri}"), Some(json!({ "uri": uri })))
}

fn plain(text: impl Into<String>, uri: &str) -> ResourceContents {
    ResourceContents::text(text, uri).with_mime_type("text/plain")
}

fn template_id(uri: &str) -> Option<&str> {
    let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}
