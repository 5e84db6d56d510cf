//! What a client says on the wire, per mode, and what a right answer is.
//! Changes when the protocol of a mode does.

use std::ops::Range;

use anyhow::{Context as _, Result, bail, ensure};
use memchr::memmem;
use serde_json::{Value, json};

use crate::wire::{Connection, Endpoint, Response};

/// The revision that a legacy session negotiates.
pub(crate) const LEGACY_VERSION: &str = "2025-11-25";
/// The revision of modern requests.
pub(crate) const MODERN_VERSION: &str = "2026-07-28";
const ACCEPT: &str = "application/json, text/event-stream";
/// Every call number has 16 digits, so that a request changes in place; the largest is below 2^53.
const DIGITS: usize = 16;
const FIRST_NUMBER: u64 = 1_000_000_000_000_000;
const NUMBERS_PER_CONNECTION: u64 = 1_000_000_000;
/// `{"text":""}`
const ARGUMENTS_FRAME: usize = 11;

/// Which protocol generation a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Mode {
    /// One 2025-11-25 session per connection: `initialize`, then calls.
    Legacy,
    /// 2026-07-28: no session, each request describes itself.
    Modern,
    /// A JSON-RPC call without session or version, for servers that ask for neither.
    Raw,
}

/// Reads `--args-bytes`.
pub(crate) fn arguments_size(text: &str) -> Result<usize, String> {
    let size: usize = text.parse().map_err(|error| format!("{error}"))?;
    let smallest = ARGUMENTS_FRAME + DIGITS;
    if (smallest..=1 << 20).contains(&size) {
        Ok(size)
    } else {
        Err(format!("must be between {smallest} and 1048576"))
    }
}

/// A client that did what its mode asks for before the first call.
pub(crate) struct Client {
    connection: Connection,
    endpoint: Endpoint,
    mode: Mode,
    session: Option<String>,
}

impl Client {
    /// Connects, and in legacy mode opens a session.
    pub(crate) async fn open(endpoint: &Endpoint, mode: Mode) -> Result<Self> {
        let connection = Connection::open(endpoint).await?;
        let mut client = Self { connection, endpoint: endpoint.clone(), mode, session: None };
        if mode == Mode::Legacy {
            client.session = Some(client.open_session().await.context("cannot open a session")?);
        }
        Ok(client)
    }

    /// A further connection of a session that is open already.
    pub(crate) async fn attach(endpoint: &Endpoint, session: &str) -> Result<Self> {
        let connection = Connection::open(endpoint).await?;
        Ok(Self { connection, endpoint: endpoint.clone(), mode: Mode::Legacy, session: Some(session.into()) })
    }

    /// Opens one more legacy session on the same connection: `initialize` and `notifications/initialized`.
    pub(crate) async fn open_session(&mut self) -> Result<String> {
        self.session = None;
        let params = json!({"protocolVersion": LEGACY_VERSION, "capabilities": {},
            "clientInfo": {"name": "bridge-bench", "version": env!("CARGO_PKG_VERSION")}});
        let request = self.post("initialize", None, &message("initialize", Some(1), &params));
        let response = self.connection.exchange(&request).await?;
        let result = result_of(&response, 1)?;
        let version = result.get("protocolVersion").and_then(Value::as_str);
        ensure!(version == Some(LEGACY_VERSION), "negotiated {version:?} instead of {LEGACY_VERSION}");
        let session = response.header("mcp-session-id").context("no Mcp-Session-Id")?.to_owned();
        self.session = Some(session.clone());
        let method = "notifications/initialized";
        let request = self.post(method, None, &message(method, None, &json!({})));
        let response = self.connection.exchange(&request).await?;
        ensure!(response.status == 202, "{method} was answered with status {}", response.status);
        Ok(session)
    }

    /// Continues a session on this client's connection.
    pub(crate) fn resume_session(&mut self, session: &str) {
        self.session = Some(session.to_owned());
    }

    /// The name under which the one tool is offered here; a merged endpoint may have renamed it.
    pub(crate) async fn find_tool(&mut self) -> Result<String> {
        if self.mode == Mode::Raw {
            return Ok("echo".into());
        }
        let params = self.with_envelope(json!({}));
        let request = self.post("tools/list", None, &message("tools/list", Some(2), &params));
        let response = self.connection.exchange(&request).await?;
        let result = result_of(&response, 2).context("tools/list")?;
        let tools = result.get("tools").and_then(Value::as_array).context("tools/list without tools")?;
        let name = match tools.as_slice() {
            [tool] => tool.get("name").and_then(Value::as_str).unwrap_or_default(),
            _ => bail!("expected one tool, got {}", tools.len()),
        };
        ensure!(name.ends_with("echo"), "the one tool is called {name:?}");
        Ok(name.into())
    }

    /// The calls of one connection, each with its own number.
    pub(crate) fn call_template(&self, tool: &str, arguments_size: usize, connection: u32) -> Call {
        let text_size = arguments_size.saturating_sub(ARGUMENTS_FRAME);
        let digits = FIRST_NUMBER.to_string();
        let filler: String = ('a'..='z').cycle().take(text_size.saturating_sub(DIGITS)).collect();
        let text = format!("{digits}{filler}");
        let params = self.with_envelope(json!({"name": tool, "arguments": {"text": text}}));
        let request =
            self.post("tools/call", Some(tool), &message("tools/call", Some(FIRST_NUMBER), &params));
        let places = memmem::find_iter(&request, &digits).map(|start| start..start + DIGITS).collect();
        Call {
            request,
            places,
            id: format!("\"id\":{digits}").into_bytes(),
            echo: format!("\"{text}\"").into_bytes(),
            number: FIRST_NUMBER + u64::from(connection) * NUMBERS_PER_CONNECTION,
            modern: self.mode == Mode::Modern,
        }
    }

    /// Sends a call and checks its answer; with `thorough`, the whole of it.
    pub(crate) async fn call(&mut self, call: &mut Call, thorough: bool) -> Result<()> {
        call.advance();
        let response = self.connection.exchange(&call.request).await?;
        call.check(&response, thorough)
    }

    /// Opens the stream on which a legacy server may speak first; it stays open as long as the client lives.
    pub(crate) async fn open_get_stream(&mut self) -> Result<()> {
        let request = self.head("GET", "Accept: text/event-stream\r\n") + "\r\n";
        let response = self.connection.open_stream(request.as_bytes()).await?;
        let kind = response.header("content-type").unwrap_or_default();
        ensure!(response.status == 200, "GET was answered with status {}", response.status);
        ensure!(kind.starts_with("text/event-stream"), "GET was answered with {kind:?}");
        Ok(())
    }

    /// Ends the legacy session, if there is one.
    pub(crate) async fn close(mut self) -> Result<()> {
        if self.session.is_some() {
            let request = self.head("DELETE", "") + "\r\n";
            let status = self.connection.exchange(request.as_bytes()).await?.status;
            ensure!((200..300).contains(&status), "DELETE was answered with status {status}");
        }
        Ok(())
    }

    fn with_envelope(&self, mut params: Value) -> Value {
        if self.mode == Mode::Modern
            && let Some(params) = params.as_object_mut()
        {
            params.insert(
                "_meta".into(),
                json!({"io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
                    "io.modelcontextprotocol/clientCapabilities": {},
                    "io.modelcontextprotocol/clientInfo":
                        {"name": "bridge-bench", "version": env!("CARGO_PKG_VERSION")}}),
            );
        }
        params
    }

    fn head(&self, verb: &str, extra: &str) -> String {
        let (path, authority) = (self.endpoint.path(), self.endpoint.authority());
        let session = self.session.as_ref().map_or_else(String::new, |session| {
            format!("Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: {LEGACY_VERSION}\r\n")
        });
        format!("{verb} {path} HTTP/1.1\r\nHost: {authority}\r\n{extra}{session}")
    }

    fn post(&self, method: &str, name: Option<&str>, body: &Value) -> Vec<u8> {
        let body = body.to_string();
        let head = self.head("POST", &format!("Content-Type: application/json\r\nAccept: {ACCEPT}\r\n"));
        let mirrored = if self.mode == Mode::Modern {
            let name = name.map_or_else(String::new, |name| format!("Mcp-Name: {name}\r\n"));
            format!("MCP-Protocol-Version: {MODERN_VERSION}\r\nMcp-Method: {method}\r\n{name}")
        } else {
            String::new()
        };
        format!("{head}{mirrored}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}

fn message(method: &str, id: Option<u64>, params: &Value) -> Value {
    let mut message = json!({"jsonrpc": "2.0", "method": method, "params": params});
    if let (Some(id), Some(message)) = (id, message.as_object_mut()) {
        message.insert("id".into(), id.into());
    }
    message
}

/// A `tools/call` whose number changes in place: it is the id of the request and opens the text to echo.
pub(crate) struct Call {
    request: Vec<u8>,
    places: Vec<Range<usize>>,
    id: Vec<u8>,
    echo: Vec<u8>,
    number: u64,
    modern: bool,
}

impl Call {
    fn advance(&mut self) {
        self.number += 1;
        let mut digits = [b'0'; DIGITS];
        let mut rest = self.number;
        for digit in digits.iter_mut().rev() {
            // The remainder of a division by ten fits.
            *digit += u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        let id_digits = self.id.len() - DIGITS;
        for place in &self.places {
            stamp(self.request.get_mut(place.clone()), digits);
        }
        stamp(self.id.get_mut(id_digits..), digits);
        stamp(self.echo.get_mut(1..=DIGITS), digits);
    }

    /// Looks for this call's id and text in the answer. An answer spelled in an unexpected way is parsed before it is
    /// called wrong; with `thorough`, every answer is.
    fn check(&self, response: &Response<'_>, thorough: bool) -> Result<()> {
        ensure!(
            response.status == 200,
            "status {} with {}",
            response.status,
            String::from_utf8_lossy(response.body)
        );
        let found = |needle: &[u8]| memmem::find(response.body, needle).is_some();
        if !thorough && found(&self.id) && found(&self.echo) {
            return Ok(());
        }
        let result = result_of(response, self.number)?;
        let echo: Value = serde_json::from_slice(&self.echo)?;
        let text = result.pointer("/content/0/text");
        ensure!(text == Some(&echo), "call {} got {text:?} instead of its own text", self.number);
        ensure!(result.get("isError") != Some(&Value::Bool(true)), "the tool failed: {result}");
        ensure!(
            !self.modern || result.get("resultType").and_then(Value::as_str) == Some("complete"),
            "a modern answer without resultType: {result}"
        );
        Ok(())
    }
}

fn stamp(place: Option<&mut [u8]>, digits: [u8; DIGITS]) {
    if let Some(place) = place {
        place.copy_from_slice(&digits);
    }
}

/// The result in an answer, whether it came as JSON or as the only response on an event stream.
fn result_of(response: &Response<'_>, id: u64) -> Result<Value> {
    let body = String::from_utf8_lossy(response.body);
    ensure!(response.status == 200, "status {} with {body}", response.status);
    let kind = response.header("content-type").unwrap_or_default();
    let messages: Vec<Value> = if kind.starts_with("text/event-stream") {
        let data = body.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
        data.filter(|data| !data.is_empty()).map(serde_json::from_str).collect::<Result<_, _>>()?
    } else {
        ensure!(kind.starts_with("application/json"), "content type {kind:?}");
        vec![serde_json::from_slice(response.body)?]
    };
    let mut answers = messages.into_iter().filter(|message| message.get("method").is_none());
    let mut answer = answers.next().with_context(|| format!("no response in {body}"))?;
    ensure!(answers.next().is_none(), "more than one response in {body}");
    ensure!(answer.get("jsonrpc").and_then(Value::as_str) == Some("2.0"), "not JSON-RPC 2.0: {body}");
    ensure!(answer.get("id") == Some(&Value::from(id)), "the answer to request {id} is {body}");
    answer.get_mut("result").map(Value::take).with_context(|| format!("no result in {body}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn template(mode: Mode) -> Call {
        let backend = crate::backend::start_for_tests().await;
        Client::open(&backend, mode).await.unwrap().call_template("echo", 256, 7)
    }

    fn checked(call: &Call, kind: &str, body: &str) -> Result<()> {
        let text = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let response = Response::for_tests(&text);
        call.check(&response, false)
    }

    #[tokio::test]
    async fn the_arguments_have_the_size_asked_for_and_each_call_its_own_number() {
        let mut call = template(Mode::Modern).await;
        call.advance();
        call.advance();
        let request = String::from_utf8(call.request.clone()).unwrap();
        let body: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["id"], Value::from(1_000_007_000_000_002u64));
        assert_eq!(body["params"]["arguments"].to_string().len(), 256);
        assert!(body["params"]["arguments"]["text"].as_str().unwrap().starts_with("1000007000000002abc"));
        assert!(request.contains("\r\nMcp-Name: echo\r\n"));
    }

    #[tokio::test]
    async fn only_the_answer_to_this_very_call_is_right() {
        let mut call = template(Mode::Legacy).await;
        call.advance();
        let text = String::from_utf8(call.echo.clone()).unwrap();
        let answer = |id: &str, text: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":{text}}}]}}}}"#
            )
        };
        let right = answer(&call.number.to_string(), &text);
        let kind = "application/json";
        checked(&call, kind, &right).unwrap();
        checked(&call, kind, &right.replace("\"id\":", "\"id\" : "))
            .expect("another spelling is right as well");
        checked(&call, "text/event-stream", &format!("id: 1\ndata: \n\ndata: {right}\n\n")).unwrap();
        for wrong in [
            answer(&(call.number + 1).to_string(), &text),
            answer(&format!("\"{}\"", call.number), &text),
            answer(&call.number.to_string(), &text.replace("0001a", "0002a")),
            format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32603,"message":"no"}}}}"#, call.number),
            String::new(),
        ] {
            assert!(checked(&call, kind, &wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_that_cannot_carry_the_number_are_refused() {
        assert_eq!(arguments_size("27"), Ok(27));
        assert!(arguments_size("26").is_err());
        assert!(arguments_size("x").is_err());
    }
}
