//! Backends for these tests, and reading of lists. Changes when the tests need other backends.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Result, ensure};
use bridge_tests::fake::{Act, Asked, Fake, response};
use bridge_tests::{Backend, Config, Era, Gateway, LegacySession, ModernClient, PATIENCE, TestServer};
use serde_json::{Value, json};

/// Without the comments that keep a stream open, so that a wait for a message that never comes fails.
pub(crate) fn quiet() -> Config {
    Config::new().set("limits", "keep_alive", json!("10m"))
}

/// A gateway with the fixture server three times and a server of the test's own in each generation.
pub(crate) struct Several {
    pub(crate) gateway: Gateway,
    /// A legacy server with the tool `work`: the backend `odd`.
    pub(crate) odd: Fake,
    /// A 2026-07-28 server with the tool `work`: the backend `odder`.
    pub(crate) odder: Fake,
    _both: TestServer,
}

impl Several {
    /// `old` is a legacy server on stdio, `new` one of 2026-07-28 on stdio, `both` speaks either over HTTP: one process for
    /// all sessions, unlike the others.
    pub(crate) fn start() -> Result<Self> {
        let done = |asked: &Asked| {
            Act::result(
                asked,
                &json!({ "resultType": "complete", "content": [{ "type": "text", "text": "done" }] }),
            )
        };
        let (odd, odder, both) = (Fake::legacy(done)?, Fake::modern(done)?, TestServer::http(Era::Both)?);
        let config = quiet()
            .stdio("old", &TestServer::stdio(Era::Legacy)?)
            .stdio("new", &TestServer::stdio(Era::Modern)?)
            .http("both", both.url())
            .backend(Backend::http("odd", &odd.url()).era("legacy"))
            .backend(Backend::http("odder", &odder.url()).era("modern"));
        let gateway = Gateway::start(&config)?;
        gateway.wait_backends("legacy", &["old", "both", "odd"])?;
        gateway.wait_backends("modern", &["new", "both", "odder"])?;
        Ok(Self { gateway, odd, odder, _both: both })
    }

    /// Runs `check` with a client of each generation, each on a gateway and backends of its own: what one changes, the
    /// other would see at a moment of its own.
    pub(crate) fn for_each(check: impl Fn(&mut Client) -> Result<()>) -> Result<()> {
        for generation in 0..2 {
            let several = Self::start()?;
            let mut clients = Client::of_both(&several.gateway)?;
            check(&mut clients[generation])?;
        }
        Ok(())
    }

    /// A session on the merged endpoint.
    pub(crate) fn session(&self) -> Result<LegacySession> {
        LegacySession::open(&self.gateway.url("/mcp"), &json!({}))
    }

    /// A client of 2026-07-28 of the merged endpoint.
    pub(crate) fn client(&self) -> Result<ModernClient> {
        ModernClient::new(&self.gateway.url("/mcp"), &json!({}))
    }
}

/// A client of either generation.
pub(crate) enum Client {
    Legacy(LegacySession),
    Modern(ModernClient),
}

impl Client {
    /// One of each, with its generation as the gateway's log spells it.
    pub(crate) fn of_both(gateway: &Gateway) -> Result<[Self; 2]> {
        let url = gateway.url("/mcp");
        let session = LegacySession::open(&url, &json!({}))?;
        Ok([Self::Legacy(session), Self::Modern(ModernClient::new(&url, &json!({}))?)])
    }

    pub(crate) fn request(&mut self, method: &str, params: &Value) -> Result<bridge_tests::Reply> {
        match self {
            Self::Legacy(session) => session.request(method, params),
            Self::Modern(client) => client.request(method, params),
        }
    }

    pub(crate) fn list(&mut self, method: &str, key: &str) -> Result<Vec<Value>> {
        match self {
            Self::Legacy(session) => session.list(method, key),
            Self::Modern(client) => client.list(method, key),
        }
    }

    pub(crate) fn call(&mut self, name: &str) -> Result<Value> {
        self.request("tools/call", &json!({ "name": name }))?.into_result()
    }

    pub(crate) fn tools(&mut self) -> Result<BTreeSet<String>> {
        Ok(names(&self.list("tools/list", "tools")?))
    }
}

pub(crate) fn names(items: &[Value]) -> BTreeSet<String> {
    items.iter().filter_map(|item| item["name"].as_str().map(str::to_owned)).collect()
}

/// Asks again until it is so. Each question takes a round trip, which is pause enough.
pub(crate) fn until(mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "it does not become so");
    }
    Ok(())
}

/// Those of `names` that carry a backend's prefix, without it.
pub(crate) fn under(names: &BTreeSet<String>, backend: &str) -> BTreeSet<String> {
    let prefix = format!("{backend}__");
    names.iter().filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned)).collect()
}

/// A server of both generations with `count` tools, in pages of 100.
pub(crate) fn many(prefix: &'static str, count: usize) -> Result<Fake> {
    let tool = move |number: usize| json!({ "name": format!("{prefix}-{number:04}"), "inputSchema": { "type": "object" } });
    Fake::start(move |asked| match (asked.http_method.as_str(), asked.method()) {
        ("GET", _) => Act::reply(405, "text/plain", "no stream"),
        ("DELETE", _) => Act::reply(200, "text/plain", ""),
        (_, "server/discover") => Act::result(
            asked,
            &json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} },
                "ttlMs": 0, "cacheScope": "private",
            }),
        ),
        (_, "initialize") => {
            let result = json!({
                "protocolVersion": asked.message["params"]["protocolVersion"],
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "many", "version": "0" },
            });
            let message = json!({ "jsonrpc": "2.0", "id": asked.message["id"], "result": result });
            let headers = [("Content-Type", "application/json"), ("Mcp-Session-Id", "many")];
            Act::Send(response(200, &headers, &message.to_string()))
        }
        (_, "tools/list") => {
            let cursor = asked.message["params"]["cursor"].as_str().and_then(|cursor| cursor.parse().ok());
            let start: usize = cursor.unwrap_or(0);
            let end = count.min(start + 100);
            let tools: Vec<_> = (start..end).map(tool).collect();
            let mut result =
                json!({ "resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private" });
            if end < count {
                result["nextCursor"] = end.to_string().into();
            }
            Act::result(asked, &result)
        }
        _ => Act::reply(202, "text/plain", ""),
    })
}
