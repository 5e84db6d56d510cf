//! A client of 2026-07-28, where every request describes itself. Changes with what tests ask of modern requests.

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::exchange::{Exchange, Reply, all_pages};
use crate::http::Url;

/// The revision spoken.
pub const REVISION: &str = "2026-07-28";

/// A call that still asks for input after this many rounds is stuck.
const MAX_ROUNDS: usize = 10;

/// A message and the headers that go with it, to be sent as it is or bent by a test first.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The JSON-RPC request.
    pub message: Value,
    /// All headers but `Host` and `Content-Length`.
    pub headers: Vec<(String, String)>,
}

impl Prepared {
    /// Replaces, adds or (with `None`) removes a header.
    pub fn header(&mut self, name: &str, value: Option<&str>) {
        self.headers.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        if let Some(value) = value {
            self.headers.push((name.to_owned(), value.to_owned()));
        }
    }
}

/// Sends 2026-07-28 requests, each on a connection of its own.
#[derive(Debug)]
pub struct ModernClient {
    url: Url,
    capabilities: Value,
    meta: Map<String, Value>,
    tools: Vec<Value>,
    next_id: u64,
}

impl ModernClient {
    /// A client with these capabilities, declared on every request.
    pub fn new(url: &str, capabilities: &Value) -> Result<Self> {
        let capabilities = capabilities.clone();
        Ok(Self { url: Url::parse(url)?, capabilities, meta: Map::new(), tools: vec![], next_id: 0 })
    }

    /// Remembers listed tools: from now on, calls mirror the arguments that a tool wants to see in headers.
    pub fn learn(&mut self, tools: &[Value]) {
        self.tools = tools.to_vec();
    }

    /// Adds a `_meta` key to every request from now on, such as `progressToken`.
    pub fn set_meta(&mut self, key: &str, value: Value) {
        self.meta.insert(key.to_owned(), value);
    }

    /// Builds a request with its `_meta` and its mirrored headers.
    pub fn prepare(&mut self, method: &str, params: &Value) -> Result<Prepared> {
        self.next_id += 1;
        let mut params = params.clone();
        let object = params.as_object_mut().context("params must be an object")?;
        let meta = object.entry("_meta").or_insert_with(|| json!({}));
        let meta = meta.as_object_mut().context("_meta must be an object")?;
        meta.insert("io.modelcontextprotocol/protocolVersion".into(), REVISION.into());
        meta.insert("io.modelcontextprotocol/clientCapabilities".into(), self.capabilities.clone());
        let info = json!({ "name": "bridge-tests", "version": env!("CARGO_PKG_VERSION") });
        meta.insert("io.modelcontextprotocol/clientInfo".into(), info);
        meta.extend(self.meta.clone());

        let message = json!({ "jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params });
        let headers = headers(&message, &self.tools);
        Ok(Prepared { message, headers })
    }

    /// Sends a prepared request and returns the open response.
    pub fn send(&self, prepared: &Prepared) -> Result<Exchange> {
        let headers: Vec<_> =
            prepared.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Exchange::start("POST", &self.url, &headers, prepared.message.to_string().as_bytes())
    }

    /// Sends a request and waits for its answer, which may be `input_required`.
    pub fn request(&mut self, method: &str, params: &Value) -> Result<Reply> {
        let prepared = self.prepare(method, params)?;
        self.send(&prepared)?.finish(&prepared.message["id"], |_| Ok(()))
    }

    /// All items of a list, page by page: `list("tools/list", "tools")`.
    pub fn list(&mut self, method: &str, key: &str) -> Result<Vec<Value>> {
        all_pages(key, |params| self.request(method, &params)?.into_result())
    }

    /// Sends a request and returns its id and the open response, to be read (or dropped: cancelled) by the caller.
    pub fn start(&mut self, method: &str, params: &Value) -> Result<(Value, Exchange)> {
        let prepared = self.prepare(method, params)?;
        let exchange = self.send(&prepared)?;
        Ok((prepared.message["id"].clone(), exchange))
    }

    /// Sends a request and repeats it with the answers of `respond` (key, bare request → result) until it completes.
    pub fn request_with_input(
        &mut self,
        method: &str,
        params: &Value,
        mut respond: impl FnMut(&str, &Value) -> Value,
    ) -> Result<Reply> {
        let mut attempt = params.clone();
        for _ in 0..MAX_ROUNDS {
            let reply = self.request(method, &attempt)?;
            let result = &reply.message["result"];
            if result["resultType"] != "input_required" {
                return Ok(reply);
            }
            attempt = params.clone();
            if let Some(requests) = result["inputRequests"].as_object() {
                let answers: Map<_, _> =
                    requests.iter().map(|(key, request)| (key.clone(), respond(key, request))).collect();
                attempt["inputResponses"] = answers.into();
            }
            if let Some(state) = result.get("requestState") {
                attempt["requestState"] = state.clone();
            }
        }
        bail!("{method} still asks for input after {MAX_ROUNDS} rounds")
    }

    /// Opens `subscriptions/listen` with this filter and waits for the acknowledgement, which is returned with the
    /// stream.
    pub fn listen(&mut self, filter: &Value) -> Result<(Value, Exchange)> {
        let (_, mut exchange) = self.start("subscriptions/listen", &json!({ "notifications": filter }))?;
        let first = exchange.next_message()?.context("the listen stream ended at once")?;
        if first["method"] != "notifications/subscriptions/acknowledged" {
            bail!("the first message of a listen stream must acknowledge it, got {first}");
        }
        Ok((first, exchange))
    }
}

/// The headers of a message on Streamable HTTP, all but `Host` and `Content-Length`. `tools` are those whose annotated
/// arguments are to be mirrored.
pub fn headers(message: &Value, tools: &[Value]) -> Vec<(String, String)> {
    let method = message["method"].as_str().unwrap_or_default();
    let params = &message["params"];
    let name = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        "tasks/get" | "tasks/update" | "tasks/cancel" => params["taskId"].as_str(),
        _ => None,
    };
    let mut headers: Vec<(String, String)> = [
        ("Accept", "application/json, text/event-stream"),
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", REVISION),
        ("Mcp-Method", method),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    headers.extend(name.map(|name| ("Mcp-Name".to_owned(), encode_header(name))));
    if method == "tools/call"
        && let Some(tool) = tools.iter().find(|tool| tool["name"] == params["name"])
    {
        headers.extend(param_headers(&tool["inputSchema"], params.get("arguments")));
    }
    headers
}

/// The `Mcp-Param-*` headers of a call. Only properties of the root are looked at, which is where tests annotate.
fn param_headers(schema: &Value, arguments: Option<&Value>) -> Vec<(String, String)> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let annotated = properties.filter_map(|(key, property)| {
        let header = property["x-mcp-header"].as_str()?;
        let value = match arguments?.get(key)? {
            Value::Null => return None,
            Value::String(text) => encode_header(text),
            other => other.to_string(),
        };
        Some((format!("Mcp-Param-{header}"), value))
    });
    annotated.collect()
}

/// A value as the 2026-07-28 transport puts it into `Mcp-Name` and `Mcp-Param-*`.
pub fn encode_header(value: &str) -> String {
    let plain = value.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte));
    let padded = value.starts_with([' ', '\t']) || value.ends_with([' ', '\t']);
    let looks_encoded = value.starts_with("=?base64?") && value.ends_with("?=");
    if plain && !padded && !looks_encoded {
        return value.to_owned();
    }
    format!("=?base64?{}?=", STANDARD.encode(value))
}
