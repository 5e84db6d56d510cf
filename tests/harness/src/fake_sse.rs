//! An HTTP+SSE server of 2024-11-05 that does whatever a test wants. Changes when a test needs another way to misbehave.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use serde_json::{Value, json};

use crate::fake::{Act, Asked, Fake, Streams};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

/// Where it takes messages without having named it.
pub const FIXED: &str = "/api/v1/request";

/// A server with one tool, `work`. What it was asked is seen through [`Fake`].
#[derive(Debug)]
pub struct FakeSse {
    fake: Fake,
    /// Its event streams.
    pub streams: Streams,
}

impl FakeSse {
    /// A server that opens streams at `/sse` and answers the handshake and the list. `act` decides on everything else.
    pub fn start(act: impl Fn(&Asked, &Streams) -> Act + Send + Sync + 'static) -> Result<Self> {
        Self::beginning(|number| format!("event: endpoint\ndata: /messages?sessionId={number}\n\n"), act)
    }

    /// The same, with streams that begin with a text of the test's.
    pub fn beginning(
        first: impl Fn(usize) -> String + Send + Sync + 'static,
        act: impl Fn(&Asked, &Streams) -> Act + Send + Sync + 'static,
    ) -> Result<Self> {
        let streams = Streams::default();
        let (pushed, opened) = (streams.clone(), AtomicUsize::new(0));
        let fake = Fake::start(move |asked| match (asked.http_method.as_str(), asked.method()) {
            ("GET", _) if asked.path == "/sse" => {
                let number = opened.fetch_add(1, Ordering::Relaxed);
                let begin = format!("{HEAD}{}", first(number));
                Act::SendAndStream(begin.into_bytes(), pushed.clone(), number)
            }
            ("POST", _) if !asked.path.contains("sessionId=") && asked.path != FIXED => {
                Act::reply(404, "text/html", "Cannot POST here")
            }
            ("POST", "initialize") => {
                let version = &asked.message["params"]["protocolVersion"];
                let info = json!({ "name": "fake", "version": "0" });
                let result = json!({ "protocolVersion": version, "capabilities": { "tools": {} }, "serverInfo": info });
                push_result(&pushed, asked, &result)
            }
            ("POST", "notifications/initialized") => taken(),
            ("POST", "tools/list") => {
                let tool = json!({ "name": "work", "inputSchema": { "type": "object" } });
                push_result(&pushed, asked, &json!({ "tools": [tool] }))
            }
            _ => act(asked, &pushed),
        })?;
        Ok(Self { fake, streams })
    }

    /// The URL of its event stream.
    pub fn url(&self) -> String {
        format!("http://{}/sse", self.fake.address())
    }
}

impl Deref for FakeSse {
    type Target = Fake;

    fn deref(&self) -> &Fake {
        &self.fake
    }
}

/// The usual answer to a POST.
pub fn taken() -> Act {
    Act::reply(202, "text/plain", "Accepted")
}

/// The stream whose endpoint a POST went to.
pub fn stream_of(asked: &Asked) -> usize {
    asked.path.rsplit_once('=').and_then(|(_, number)| number.parse().ok()).unwrap_or_default()
}

/// The result of a request on its stream, and the usual answer to its POST.
pub fn push_result(streams: &Streams, asked: &Asked, result: &Value) -> Act {
    let message = json!({ "jsonrpc": "2.0", "id": asked.message["id"], "result": result });
    streams.push(stream_of(asked), "message", &message.to_string());
    taken()
}
