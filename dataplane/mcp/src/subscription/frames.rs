//! Messages of a subscription, all tagged with the id of the request that opened it.
//! Changes when what a listen stream carries, or how it is tagged, changes.

use bytes::Bytes;

use super::Filter;
use crate::frame::Frame;
use crate::limits::Limits;
use crate::scan::{Scanner, Span, decode_string};
use crate::splice::Edits;

/// `"io.modelcontextprotocol/subscriptionId":` followed by the raw id, which keeps its JSON type.
fn tagged(id: &[u8]) -> Vec<u8> {
    [b"\"io.modelcontextprotocol/subscriptionId\":", id].concat()
}

fn concat(parts: &[&[u8]]) -> Bytes {
    parts.concat().into()
}

/// The first message of a subscription: what of it is honoured. `id` is the raw id of the listen request.
pub fn acknowledged(id: &[u8], honoured: &Filter) -> Bytes {
    concat(&[
        b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{\"_meta\":{",
        &tagged(id),
        b"},\"notifications\":",
        &honoured.to_json(),
        b"}}",
    ])
}

/// The response to the listen request: the server ends the subscription.
pub fn finished(id: &[u8]) -> Bytes {
    concat(&[
        b"{\"jsonrpc\":\"2.0\",\"id\":",
        id,
        b",\"result\":{\"resultType\":\"complete\",\"_meta\":{",
        &tagged(id),
        b"}}}",
    ])
}

/// The notification that ends a subscription on stdio-like transports, where closing the stream says nothing about one
/// request (MCP 2026-07-28, "Cancellation"). Sent before [`finished`].
pub fn cancelled(id: &[u8]) -> Bytes {
    concat(&[
        b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":",
        id,
        b",\"_meta\":{",
        &tagged(id),
        b"}}}",
    ])
}

/// A notification with the subscription's id in its `params._meta`; an id that it carries from elsewhere is replaced.
pub fn tag(notification: &Frame, id: &[u8]) -> Bytes {
    let text = notification.bytes();
    let mut edits = Edits::new();
    let params = notification.envelope().params.as_ref();
    let meta = params.map(|params| &params.meta);
    let tag = tagged(id);
    if let Some(old) = meta.and_then(|meta| meta.subscription_id) {
        edits.replace(old, id.to_vec());
    } else if let Some(meta) = meta.and_then(|meta| meta.span) {
        insert_member(&mut edits, text, meta, tag);
    } else if let Some(params) = params.and_then(|params| params.members.span) {
        let object = [b"{", &*tag, b"}"].concat();
        if let Some((before, after)) = around_meta(text, params) {
            return concat(&[before, &object, after]);
        }
        insert_member(&mut edits, text, params, [b"\"_meta\":", &*object].concat());
    } else {
        let member = [b"\"params\":{\"_meta\":{", &*tag, b"}},"].concat();
        edits.insert(notification.envelope().body_start, member);
    }
    notification.edited(edits)
}

/// Puts `member` first into the object at `span`.
fn insert_member(edits: &mut Edits, text: &[u8], span: Span, mut member: Vec<u8>) {
    let mut inside = span.of(text).iter().skip(1);
    if inside.find(|byte| !byte.is_ascii_whitespace()) != Some(&b'}') {
        member.push(b',');
    }
    edits.insert(span.start() + 1, member);
}

/// What stands before and after a `_meta` that is no object: a second one beside it would hide one of them.
fn around_meta(text: &[u8], params: Span) -> Option<(&[u8], &[u8])> {
    let inner = params.of(text);
    let mut found = None;
    let mut scanner = Scanner::new(inner, &Limits::backend(usize::MAX, usize::MAX)).ok()?;
    let read = scanner.object(|scanner, key| {
        let value = scanner.value()?;
        if decode_string(key.of(inner)).as_deref() == Some("_meta") {
            found = Some(value);
        }
        Ok(())
    });
    let meta = found.filter(|_| read.is_ok())?;
    Some((text.get(..params.start() + meta.start())?, text.get(params.start() + meta.end()..)?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(message: &[u8]) -> Value {
        serde_json::from_slice(message).unwrap()
    }

    fn tagged_with(id: &str, message: &str) -> String {
        let limits = Limits { max_bytes: 10_000, max_depth: 10, unique_keys: true };
        let frame = Frame::parse(Bytes::copy_from_slice(message.as_bytes()), &limits).unwrap();
        let tagged = tag(&frame, id.as_bytes());
        Frame::parse(tagged.clone(), &limits).unwrap();
        String::from_utf8(tagged.to_vec()).unwrap()
    }

    #[test]
    fn a_notification_is_tagged_wherever_its_meta_is() {
        const KEY: &str = r#""io.modelcontextprotocol/subscriptionId""#;
        for (params, expected) in [
            ("", format!(r#""params":{{"_meta":{{{KEY}:"l-1"}}}},"#)),
            (r#""params":{},"#, format!(r#""params":{{"_meta":{{{KEY}:"l-1"}}}},"#)),
            (r#""params":{ },"#, format!(r#""params":{{"_meta":{{{KEY}:"l-1"}} }},"#)),
            (r#""params":{"uri":"a"},"#, format!(r#""params":{{"_meta":{{{KEY}:"l-1"}},"uri":"a"}},"#)),
            (r#""params":{"_meta":{}},"#, format!(r#""params":{{"_meta":{{{KEY}:"l-1"}}}},"#)),
            (r#""params":{"_meta":{"x":1}},"#, format!(r#""params":{{"_meta":{{{KEY}:"l-1","x":1}}}},"#)),
            (r#""params":{"a":1,"_meta":null},"#, format!(r#""params":{{"a":1,"_meta":{{{KEY}:"l-1"}}}},"#)),
        ] {
            let message =
                |params: &str| format!(r#"{{"method":"notifications/x",{params} "jsonrpc":"2.0"}}"#);
            let tagged = tagged_with("\"l-1\"", &message(params));
            let expected = if params.is_empty() {
                format!(r#"{{{expected}"method":"notifications/x", "jsonrpc":"2.0"}}"#)
            } else {
                message(&expected)
            };
            assert_eq!(tagged, expected, "{params}");
        }
    }

    #[test]
    fn a_tag_of_another_subscription_is_replaced_and_the_id_keeps_its_type() {
        let message = r#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{"io.modelcontextprotocol\/subscriptionId":"up-3","b":1}}}"#;
        for id in ["7", "\"7\"", "1e3"] {
            let expected = message.replace("\"up-3\"", id);
            assert_eq!(tagged_with(id, message), expected);
        }
    }

    #[test]
    fn messages_of_a_subscription_have_the_specified_form() {
        let filter = Filter { tools_list_changed: true, ..Filter::default() };
        let meta = json!({ "io.modelcontextprotocol/subscriptionId": 1 });
        assert_eq!(
            read(&acknowledged(b"1", &filter)),
            json!({ "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                "params": { "_meta": meta, "notifications": { "toolsListChanged": true } } })
        );
        assert_eq!(
            read(&finished(b"1")),
            json!({ "jsonrpc": "2.0", "id": 1, "result": { "resultType": "complete", "_meta": meta } })
        );
        assert_eq!(
            read(&cancelled(b"1")),
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
                "params": { "requestId": 1, "_meta": meta } })
        );
    }
}
