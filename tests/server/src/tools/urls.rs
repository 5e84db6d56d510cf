//! Tools that send the user to a page. Changes when the protocol has another way to do that.

use rmcp::model::{ErrorCode, ErrorData};
use serde_json::json;

use crate::call::{Call, Reply, Stop, text};
use crate::input_required::Ask;

use super::{Entry, arguments, entry, no_arguments};

const PAGE: &str = "https://example.com/visit";
/// "URL elicitation required": 2025-11-25 only.
const REQUIRED: i32 = -32042;

pub(super) fn tools() -> Vec<Entry> {
    vec![
        entry("test_elicitation_url", "Sends the user to a page", no_arguments(), |mut call| {
            Box::pin(async move {
                let ask = Ask::Url("Please visit the page".to_owned(), PAGE.to_owned());
                let answer = call.inputs.ask("visit", ask).await?;
                text(format!("URL elicitation: action={}", answer["action"].as_str().unwrap_or("none")))
            })
        }),
        entry(
            "test_url_required",
            "Works only after the user has been to a page, once for each key",
            arguments(&[("key", "string")]),
            |call| Box::pin(required(call)),
        ),
    ]
}

/// A server of 2025-11-25 refuses and names the page; the client calls again after the visit, which is taken for granted
/// here. A modern one asks.
async fn required(mut call: Call) -> Reply {
    let key = call.string("key")?.to_owned();
    let message = format!("Please agree to {key}");
    if call.inputs.is_modern() {
        let answer = call.inputs.ask("visit", Ask::Url(message, PAGE.to_owned())).await?;
        return match answer["action"].as_str() {
            Some("accept") => text(format!("Agreed to {key}")),
            _ => Err(Stop::Failed(format!("The user did not agree to {key}"))),
        };
    }
    if !call.shared.world.agree(&key)? {
        return text(format!("Agreed to {key}"));
    }
    let page = json!({
        "mode": "url", "message": message, "url": PAGE, "elicitationId": call.shared.next_visit(),
    });
    let data = json!({ "elicitations": [page] });
    Err(ErrorData::new(ErrorCode(REQUIRED), "the user has to visit a page first", Some(data)).into())
}
