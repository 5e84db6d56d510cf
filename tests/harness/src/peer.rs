//! A client of either generation over anything that carries whole messages both ways. Changes with what tests ask of such
//! clients.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::modern::REVISION;
use crate::process::Process;

/// Carries messages.
pub trait Wire {
    /// Sends one message.
    fn send(&mut self, text: &str) -> Result<()>;
    /// The next message, waited for; `None` at the end of the connection.
    fn read(&mut self) -> Result<Option<String>>;
}

/// One client.
#[derive(Debug)]
pub struct Peer<W> {
    wire: W,
    next_id: i64,
    /// What came while something else was waited for.
    early: VecDeque<Value>,
}

impl<W: Wire> Peer<W> {
    /// A client that has said nothing yet.
    pub fn new(wire: W) -> Self {
        Self { wire, next_id: 0, early: VecDeque::new() }
    }

    /// What carries its messages.
    pub fn wire(&mut self) -> &mut W {
        &mut self.wire
    }

    /// Sends any message.
    pub fn send(&mut self, message: &Value) -> Result<()> {
        self.wire.send(&message.to_string())
    }

    /// The next message, `None` at the end.
    pub fn read(&mut self) -> Result<Option<Value>> {
        if let Some(early) = self.early.pop_front() {
            return Ok(Some(early));
        }
        self.read_new()
    }

    fn read_new(&mut self) -> Result<Option<Value>> {
        let Some(text) = self.wire.read()? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).with_context(|| format!("not JSON: {text}"))
    }

    /// The first message, past or to come, that satisfies `wanted`; the others are kept.
    pub fn wait(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        if let Some(at) = self.early.iter().position(&wanted) {
            return self.early.remove(at).context("a message that was found");
        }
        loop {
            let message = self.read_new()?.context("the connection ended")?;
            if wanted(&message) {
                return Ok(message);
            }
            self.early.push_back(message);
        }
    }

    /// Sends a request and returns its id.
    pub fn start(&mut self, method: &str, params: &Value) -> Result<Value> {
        self.next_id += 1;
        let id = json!(self.next_id);
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        Ok(id)
    }

    /// Waits for the answer to a request.
    pub fn answer(&mut self, id: &Value) -> Result<Value> {
        self.wait(|message| message["id"] == *id && message.get("method").is_none())
    }

    /// Sends a request and waits for its answer: the whole message.
    pub fn request(&mut self, method: &str, params: &Value) -> Result<Value> {
        let id = self.start(method, params)?;
        self.answer(&id)
    }

    /// The result of a request of a session.
    pub fn call(&mut self, method: &str, params: &Value) -> Result<Value> {
        result_of(&self.request(method, params)?)
    }

    /// Opens a session with the newest revision that has them; gives the result.
    pub fn initialize(&mut self, capabilities: &Value) -> Result<Value> {
        let result = self.call(
            "initialize",
            &json!({
                "protocolVersion": "2025-11-25",
                "capabilities": capabilities,
                "clientInfo": { "name": "bridge-tests", "version": env!("CARGO_PKG_VERSION") },
            }),
        )?;
        self.notify("notifications/initialized", &json!({}))?;
        Ok(result)
    }

    /// Sends a notification.
    pub fn notify(&mut self, method: &str, params: &Value) -> Result<()> {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    }

    /// Sends a request of 2026-07-28 and returns its id.
    pub fn start_modern(&mut self, method: &str, params: &Value) -> Result<Value> {
        let mut params = params.clone();
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": REVISION,
            "io.modelcontextprotocol/clientCapabilities": { "elicitation": {}, "sampling": {} },
            "io.modelcontextprotocol/clientInfo": { "name": "bridge-tests", "version": "1" },
        });
        for (key, value) in meta.as_object().into_iter().flatten() {
            params["_meta"][key] = value.clone();
        }
        self.start(method, &params)
    }

    /// The result of a request of 2026-07-28.
    pub fn modern(&mut self, method: &str, params: &Value) -> Result<Value> {
        let id = self.start_modern(method, params)?;
        result_of(&self.answer(&id)?)
    }
}

fn result_of(answer: &Value) -> Result<Value> {
    match answer.get("result") {
        Some(result) => Ok(result.clone()),
        None => bail!("no result: {answer}"),
    }
}

/// One message per line over a Unix socket.
#[derive(Debug)]
pub struct Lines {
    reader: BufReader<UnixStream>,
}

impl Lines {
    /// Connects.
    pub fn connect(path: &Path) -> Result<Self> {
        let stream =
            UnixStream::connect(path).with_context(|| format!("connecting to {}", path.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream) })
    }
}

impl Wire for Lines {
    fn send(&mut self, text: &str) -> Result<()> {
        ensure!(!text.contains('\n'), "a message of one line");
        self.reader.get_mut().write_all(format!("{text}\n").as_bytes()).context("sending")
    }

    fn read(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).context("waiting for a line")?;
        Ok((read > 0).then(|| line.trim_end().to_owned()))
    }
}

/// One message per line over the standard streams of a program, which may print other lines, too.
#[derive(Debug)]
pub struct Pipes {
    process: Process,
    /// How many lines were looked at.
    seen: usize,
}

impl Pipes {
    /// Speaks to a program that has just been started.
    pub fn new(process: Process) -> Self {
        Self { process, seen: 0 }
    }
}

impl Wire for Pipes {
    fn send(&mut self, text: &str) -> Result<()> {
        ensure!(!text.contains('\n'), "a message of one line");
        self.process.write_stdin(format!("{text}\n").as_bytes())
    }

    fn read(&mut self) -> Result<Option<String>> {
        let mut at = 0;
        let line = self.process.wait_line(PATIENCE, |line| {
            at += 1;
            (at > self.seen && line.starts_with('{')).then(|| line.to_owned())
        })?;
        self.seen = at;
        Ok(Some(line))
    }
}
