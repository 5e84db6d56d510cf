//! How an HTTP server of one generation refuses the other. Changes when the refusals do.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use rmcp::model::{ErrorData, ProtocolVersion};
use serde_json::{Value, json};

use crate::era::{Era, MODERN_META_PREFIX, handshake_refused, unknown_method};

use super::{MAX_BODY, error_response};

/// The private code with which servers before 2026-07-28 refuse a request without session or version.
const LEGACY_REFUSAL: i64 = -32000;

/// Answers what a server of this generation would refuse; passes on everything else.
pub(super) async fn refuse_other_era(State(era): State<Era>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if era == Era::Legacy && !version_is_old(&parts.headers) {
        let text = "Bad Request: unsupported protocol version";
        return error_response(StatusCode::BAD_REQUEST, &Value::Null, &legacy_refusal(text));
    }
    if parts.method != Method::POST {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let Ok(bytes) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let verdict = match era {
        Era::Legacy => as_legacy(&parts.headers, bytes),
        Era::Modern => as_modern(bytes),
        Era::Both => Ok(bytes),
    };
    match verdict {
        Ok(bytes) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Err(refusal) => *refusal,
    }
}

fn version_is_old(headers: &HeaderMap) -> bool {
    let Some(version) = headers.get("mcp-protocol-version") else { return true };
    Era::Legacy.versions().iter().any(|known| version.as_bytes() == known.as_str().as_bytes())
}

/// An old server ignores metadata it does not know and wants a session on everything but `initialize`.
fn as_legacy(headers: &HeaderMap, bytes: Bytes) -> Result<Bytes, Box<Response>> {
    let Ok(mut message) = serde_json::from_slice::<Value>(&bytes) else { return Ok(bytes) };
    let id = message["id"].clone();
    let method = message["method"].as_str().unwrap_or_default().to_owned();
    if method != "initialize" && !headers.contains_key("mcp-session-id") {
        let text = "Bad Request: no session; send initialize first";
        return Err(Box::new(error_response(StatusCode::BAD_REQUEST, &id, &legacy_refusal(text))));
    }
    if method == "server/discover" {
        return Err(Box::new(error_response(StatusCode::OK, &id, &to_value(&unknown_method(&method)))));
    }
    let Some(meta) = message.pointer_mut("/params/_meta").and_then(Value::as_object_mut) else {
        return Ok(bytes);
    };
    let before = meta.len();
    meta.retain(|key, _| !key.starts_with(MODERN_META_PREFIX));
    if meta.len() == before { Ok(bytes) } else { Ok(Bytes::from(message.to_string())) }
}

/// A modern server has no handshake. Whatever else an old client sends lacks the metadata, which the SDK refuses.
fn as_modern(bytes: Bytes) -> Result<Bytes, Box<Response>> {
    let Ok(message) = serde_json::from_slice::<Value>(&bytes) else { return Ok(bytes) };
    if message["method"] != "initialize" {
        return Ok(bytes);
    }
    let params = &message["params"];
    let tagged = params["_meta"].get("io.modelcontextprotocol/protocolVersion").is_some();
    let (status, error) = if tagged {
        (StatusCode::NOT_FOUND, unknown_method("initialize"))
    } else {
        let requested = params["protocolVersion"].as_str().unwrap_or_default();
        (StatusCode::BAD_REQUEST, handshake_refused(requested))
    };
    Err(Box::new(error_response(status, &message["id"], &to_value(&error))))
}

fn legacy_refusal(text: &str) -> Value {
    let supported = Era::Legacy.versions();
    let names: Vec<&str> = supported.iter().map(ProtocolVersion::as_str).collect();
    json!({ "code": LEGACY_REFUSAL, "message": format!("{text} (supported versions: {})", names.join(", ")) })
}

fn to_value(error: &ErrorData) -> Value {
    serde_json::to_value(error).unwrap_or_else(|_| json!({ "code": error.code.0, "message": error.message }))
}
