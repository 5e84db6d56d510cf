//! An event stream that a test writes piece by piece. Changes when a server's stream has to do something else.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Asked, Shared};

type Write = dyn Fn(&mut Events<'_>) -> Result<()> + Send + Sync;

/// What a stream says.
#[derive(Clone)]
pub struct Script(pub(super) Arc<Write>);

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl Script {
    pub(super) fn run(&self, stream: &mut TcpStream, shared: &Shared) -> Result<()> {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes())?;
        (self.0)(&mut Events { stream, shared })?;
        Ok(stream.shutdown(Shutdown::Both)?)
    }
}

/// The stream while it is written.
#[derive(Debug)]
pub struct Events<'a> {
    stream: &'a mut TcpStream,
    shared: &'a Shared,
}

impl Events<'_> {
    /// Sends a message.
    pub fn send(&mut self, message: &Value) -> Result<()> {
        self.send_text(&message.to_string())
    }

    /// Sends a message as it is spelled, which must be in one line.
    pub fn send_text(&mut self, message: &str) -> Result<()> {
        Ok(self.stream.write_all(format!("event: message\ndata: {message}\n\n").as_bytes())?)
    }

    /// Sends a request and waits for its response.
    pub fn ask(&mut self, id: &Value, method: &str, params: &Value) -> Result<Asked> {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))?;
        self.answer_to(id)
    }

    /// Waits for the response to a request.
    pub fn answer_to(&self, id: &Value) -> Result<Asked> {
        self.wait_asked(|asked| asked.message["id"] == *id && asked.message.get("method").is_none())
    }

    /// Waits for a request to this server, past or to come, that satisfies `wanted`.
    pub fn wait_asked(&self, wanted: impl Fn(&Asked) -> bool) -> Result<Asked> {
        self.shared.wait_asked(wanted)
    }

    /// Ends the stream with the result of the request that it answers.
    pub fn finish(&mut self, asked: &Asked, result: &Value) -> Result<()> {
        self.send(&json!({ "jsonrpc": "2.0", "id": asked.message["id"], "result": result }))
    }

    /// Waits until the other side closes the connection, which counts as abandoned.
    pub fn wait_closed(&mut self) {
        while self.stream.read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
        self.shared.abandon();
    }
}
