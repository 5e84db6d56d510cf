//! Errors of the gateway in the words of the original: on TCP it knew one code and few texts. Changes when they do.

use bridge_mcp::envelope::Kind;
use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::original::connection::Outcome;
use bridge_policy::refusal::Reason;
use bytes::Bytes;
use serde_json::Value;

/// Errors of the gateway itself are shorter.
const LARGEST: usize = 8 * 1024;

/// How a request ended: with a backend's answer, as it is, or with an error of the gateway, which its data shows.
pub(super) fn outcome(message: &Bytes) -> Outcome {
    match own_error(message) {
        Some((reason, error)) => {
            let detail = error["message"].as_str().unwrap_or_default();
            let text = match reason {
                Reason::ShuttingDown => "Server shutting down".to_owned(),
                Reason::Unauthorized => format!("Unauthorized: {detail}"),
                Reason::BadMessage => detail.to_owned(),
                _ => format!("Routing failed: {detail}"),
            };
            Outcome::Failure(text, error.get("data").cloned())
        }
        None => Outcome::Answer(message.clone()),
    }
}

fn own_error(message: &Bytes) -> Option<(Reason, Value)> {
    if message.len() > LARGEST {
        return None;
    }
    let frame = Frame::parse(message.clone(), &Limits::backend(LARGEST, 64)).ok()?;
    if frame.kind() != Kind::Error {
        return None;
    }
    let error: Value = serde_json::from_slice(frame.raw(frame.envelope().error)?).ok()?;
    let named = error["data"]["reason"].as_str()?;
    let reason = Reason::ALL.iter().find(|reason| reason.as_str() == named)?;
    Some((*reason, error))
}

#[cfg(test)]
mod tests {
    use bridge_policy::refusal::Refusal;

    use super::*;
    use crate::pipeline::error_of;

    #[test]
    fn an_error_of_the_gateway_is_told_in_the_originals_words() {
        let refusal = Refusal::backend(Reason::BackendUnavailable, "demo", "it is not running");
        let Outcome::Failure(text, data) = outcome(&error_of(Some(b"1"), &refusal)) else {
            panic!("an answer")
        };
        assert_eq!(text, "Routing failed: backend `demo`: it is not running");
        assert_eq!(data.unwrap()["retry"], "safe");
    }

    #[test]
    fn an_answer_of_a_backend_passes_as_it_is() {
        for answer in [
            r#"{"jsonrpc":"2.0","id":1,"result":{"data":{"reason":"shutting_down"}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"x","data":{"reason":"mine"}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}"#,
        ] {
            assert!(matches!(outcome(&answer.into()), Outcome::Answer(same) if same == answer));
        }
    }
}
