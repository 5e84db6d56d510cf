//! A server that answers whatever a test wants, right or wrong, and remembers what it was asked. Changes when a test needs
//! another way to misbehave.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
pub use events::{Events, Script};
use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

use crate::PATIENCE;

mod events;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// HTTP method.
    pub http_method: String,
    /// Path and query.
    pub path: String,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: String,
    /// The body, null when it is no JSON.
    pub message: Value,
}

impl Asked {
    /// The JSON-RPC method, or nothing.
    pub fn method(&self) -> &str {
        self.message["method"].as_str().unwrap_or_default()
    }

    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Send these bytes, then read the next request.
    Send(Vec<u8>),
    /// Send these bytes and close.
    SendAndClose(Vec<u8>),
    /// Send these bytes and never anything again.
    SendAndHang(Vec<u8>),
    /// Send these bytes, and from then on what is pushed to the stream with this number.
    SendAndStream(Vec<u8>, Streams, usize),
    /// Answer with an event stream, written as it goes along; the connection ends with it.
    Stream(Script),
}

/// Connections that stay open so that a test can write events to them, by number. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Streams(Arc<Mutex<BTreeMap<usize, TcpStream>>>);

impl Streams {
    /// Writes one event.
    pub fn push(&self, number: usize, name: &str, data: &str) {
        self.write(number, &format!("event: {name}\ndata: {data}\n\n"));
    }

    /// Writes any text. A stream that is closed takes nothing, as tests intend.
    pub fn write(&self, number: usize, text: &str) {
        if let Some(stream) = self.0.lock().get_mut(&number) {
            let _ = stream.write_all(text.as_bytes());
        }
    }

    /// Closes all streams.
    pub fn end(&self) {
        for (_, stream) in std::mem::take(&mut *self.0.lock()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Act {
    /// Say nothing and keep the connection.
    pub fn hang() -> Self {
        Self::SendAndHang(Vec::new())
    }

    /// A whole HTTP response.
    pub fn reply(status: u16, content_type: &str, body: &str) -> Self {
        Self::Send(response(status, &[("Content-Type", content_type)], body))
    }

    /// An event stream that `script` writes.
    pub fn stream(script: impl Fn(&mut Events<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        Self::Stream(Script(Arc::new(script)))
    }

    /// The result of a request.
    pub fn result(asked: &Asked, result: &Value) -> Self {
        let message = json!({ "jsonrpc": "2.0", "id": asked.message["id"], "result": result });
        Self::reply(200, "application/json", &message.to_string())
    }
}

/// The bytes of a response with a right `Content-Length`.
pub fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut text = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

/// The running server. Its connections close when it is dropped.
#[derive(Debug)]
pub struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    asked: Vec<Asked>,
    open: Vec<TcpStream>,
    /// How many connections the other side has closed while the server hung.
    abandoned: usize,
    stopped: bool,
}

impl Shared {
    fn abandon(&self) {
        self.state.lock().abandoned += 1;
        self.changed.notify_all();
    }

    fn wait_asked(&self, wanted: impl Fn(&Asked) -> bool) -> Result<Asked> {
        self.wait(|state| state.asked.iter().find(|asked| wanted(asked)).cloned())
    }

    fn wait<T>(&self, find: impl Fn(&State) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state.lock();
        loop {
            if let Some(found) = find(&state) {
                return Ok(found);
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                bail!("the fake server has waited in vain; it was asked {:#?}", state.asked);
            }
        }
    }
}

impl Fake {
    /// Serves on a free port; `act` decides on each request.
    pub fn start(act: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (of_thread, act) = (Arc::clone(&shared), Arc::new(act));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let mut state = of_thread.state.lock();
                if state.stopped {
                    return;
                }
                state.open.extend(stream.try_clone());
                drop(state);
                let (shared, act) = (Arc::clone(&of_thread), Arc::clone(&act));
                thread::spawn(move || {
                    // A connection that breaks is what tests do to it.
                    let _ = serve(stream, &shared, &*act);
                });
            }
        });
        Ok(Self { address, shared })
    }

    /// A legacy server with one tool, `work`. `act` decides on everything but the handshake and the list.
    pub fn legacy(act: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Result<Self> {
        Self::start(move |asked| match (asked.http_method.as_str(), asked.method()) {
            ("GET", _) => Act::reply(405, "text/plain", "no stream"),
            ("DELETE", _) => Act::reply(200, "text/plain", ""),
            (_, "initialize") => {
                let result = json!({
                    "protocolVersion": asked.message["params"]["protocolVersion"],
                    "capabilities": { "tools": {} },
                    "serverInfo": { "name": "fake", "version": "0" },
                });
                let message = json!({ "jsonrpc": "2.0", "id": asked.message["id"], "result": result });
                let headers = [("Content-Type", "application/json"), ("Mcp-Session-Id", "fake-session")];
                Act::Send(response(200, &headers, &message.to_string()))
            }
            (_, "notifications/initialized") => Act::reply(202, "text/plain", ""),
            (_, "tools/list") => {
                let tool = json!({ "name": "work", "inputSchema": { "type": "object" } });
                Act::result(asked, &json!({ "tools": [tool] }))
            }
            _ => act(asked),
        })
    }

    /// A 2026-07-28 server with one tool, `work`. `act` decides on everything but discovery and the list.
    pub fn modern(act: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Result<Self> {
        Self::start(move |asked| match asked.method() {
            "server/discover" => Act::result(
                asked,
                &json!({
                    "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} },
                    "ttlMs": 0, "cacheScope": "private",
                }),
            ),
            "tools/list" => {
                let tool = json!({ "name": "work", "inputSchema": { "type": "object" } });
                let result =
                    json!({ "resultType": "complete", "tools": [tool], "ttlMs": 0, "cacheScope": "private" });
                Act::result(asked, &result)
            }
            _ => act(asked),
        })
    }

    /// Its MCP endpoint.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state.lock().asked.clone()
    }

    /// Waits for a request, past or to come, that satisfies `wanted`.
    pub fn wait_asked(&self, wanted: impl Fn(&Asked) -> bool) -> Result<Asked> {
        self.shared.wait_asked(wanted)
    }

    /// Waits until the other side has closed this many connections on which the server hung.
    pub fn wait_abandoned(&self, count: usize) -> Result<()> {
        self.shared.wait(|state| (state.abandoned >= count).then_some(()))
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.stopped = true;
        for stream in state.open.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut stream: TcpStream, shared: &Shared, act: &(impl Fn(&Asked) -> Act + ?Sized)) -> Result<()> {
    let mut buffer = Vec::new();
    while let Some(asked) = read_request(&mut stream, &mut buffer)? {
        shared.state.lock().asked.push(asked.clone());
        shared.changed.notify_all();
        match act(&asked) {
            Act::Send(bytes) => stream.write_all(&bytes)?,
            Act::SendAndClose(bytes) => {
                stream.write_all(&bytes)?;
                stream.shutdown(Shutdown::Both)?;
                return Ok(());
            }
            Act::SendAndStream(bytes, streams, number) => {
                // Nobody pushes before the beginning was written.
                let mut open = streams.0.lock();
                stream.write_all(&bytes)?;
                open.insert(number, stream.try_clone()?);
                drop(open);
                while stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
                shared.abandon();
                return Ok(());
            }
            Act::SendAndHang(bytes) => {
                stream.write_all(&bytes)?;
                while stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
                shared.abandon();
                return Ok(());
            }
            Act::Stream(script) => return script.run(&mut stream, shared),
        }
    }
    Ok(())
}

/// Reads one request with a `Content-Length`; `None` at the end of the connection.
fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<Asked>> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if !fill(stream, buffer)? {
            return Ok(None);
        }
    };
    let head: Vec<u8> = buffer.drain(..head_end + 4).collect();
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let (http_method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse());
    let length: usize = length.transpose().context("content-length")?.unwrap_or(0);
    while buffer.len() < length {
        if !fill(stream, buffer)? {
            return Ok(None);
        }
    }
    let body: Vec<u8> = buffer.drain(..length).collect();
    let message = serde_json::from_slice(&body).unwrap_or_default();
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(Asked { http_method, path, headers, body, message }))
}

fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<bool> {
    let mut chunk = [0; 8192];
    match stream.read(&mut chunk) {
        Ok(read) => {
            buffer.extend_from_slice(&chunk[..read]);
            Ok(read > 0)
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
        Err(error) => Err(error.into()),
    }
}
