//! Tools that return each kind of content. Changes when a kind of content is added.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::json;

use super::{Entry, entry, no_arguments};
use crate::call::{Stop, text};
use crate::samples;

pub(super) fn tools() -> Vec<Entry> {
    vec![
        entry("test_simple_text", "Returns a text", no_arguments(), |_| {
            Box::pin(async { text("This is a simple text response for testing.") })
        }),
        entry("test_image_content", "Returns an image", no_arguments(), |_| {
            Box::pin(async { Ok(CallToolResult::success(vec![image()])) })
        }),
        entry("test_audio_content", "Returns a sound", no_arguments(), |_| {
            Box::pin(async {
                Ok(CallToolResult::success(vec![ContentBlock::audio(samples::WAV, "audio/wav")]))
            })
        }),
        entry("test_embedded_resource", "Returns an embedded resource", no_arguments(), |_| {
            Box::pin(async {
                let resource = ResourceContents::text(
                    "This is an embedded resource content.",
                    "test://embedded-resource",
                )
                .with_mime_type("text/plain");
                Ok(CallToolResult::success(vec![ContentBlock::resource(resource)]))
            })
        }),
        entry(
            "test_multiple_content_types",
            "Returns a text, an image and a resource",
            no_arguments(),
            |_| {
                Box::pin(async {
                    let data = json!({ "test": "data", "value": 123 }).to_string();
                    let resource = ResourceContents::text(data, "test://mixed-content-resource")
                        .with_mime_type("application/json");
                    Ok(CallToolResult::success(vec![
                        ContentBlock::text("Multiple content types test:"),
                        image(),
                        ContentBlock::resource(resource),
                    ]))
                })
            },
        ),
        entry("test_error_handling", "Always fails", no_arguments(), |_| {
            Box::pin(async {
                Err(Stop::Failed("This tool intentionally returns an error for testing".to_owned()))
            })
        }),
    ]
}

fn image() -> ContentBlock {
    ContentBlock::image(samples::PNG, "image/png")
}
