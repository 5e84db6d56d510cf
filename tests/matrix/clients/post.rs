//! The original's POST of envelopes: each request stands alone and gets its bare answer. Changes with that frontend.

use std::collections::HashMap;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::Exchange;
use bridge_tests::http::Url;
use serde_json::Value;

use super::wire::wrap;
use crate::client::{Arrival, Client, WAIT};

/// A client of one namespace.
pub(crate) struct PostClient {
    url: Url,
    namespace: &'static str,
    to_inbox: Sender<Arrival>,
    inbox: Receiver<Arrival>,
    /// The connections of all requests, by request id.
    open: HashMap<String, TcpStream>,
}

impl PostClient {
    pub(crate) fn new(url: &str, namespace: &'static str) -> Result<Self> {
        let (to_inbox, inbox) = channel();
        Ok(Self { url: Url::parse(url)?, namespace, to_inbox, inbox, open: HashMap::new() })
    }
}

fn answer(exchange: &mut Exchange) -> Result<Value> {
    let text = exchange.read_text()?;
    serde_json::from_str(&text).with_context(|| format!("not JSON: {text:.500}"))
}

impl Client for PostClient {
    fn send(&mut self, message: &Value) -> Result<()> {
        let body = wrap(message, self.namespace);
        let headers = [("Content-Type", "application/json")];
        let mut exchange = Exchange::start("POST", &self.url, &headers, body.as_bytes())?;
        let Some(id) = message.get("id").cloned() else {
            ensure!(exchange.head()?.status == 202, "{message} got {:?}", exchange.head()?);
            return Ok(());
        };
        self.open.insert(id.to_string(), exchange.handle()?);
        let inbox = self.to_inbox.clone();
        thread::spawn(move || {
            let arrival = match answer(&mut exchange) {
                Ok(answer) => Arrival::Message(answer),
                Err(error) => Arrival::Ended { id, why: format!("{error:#}") },
            };
            // Nobody may be interested any more.
            let _ = inbox.send(arrival);
        });
        Ok(())
    }

    /// Nobody but this connection waits for the answer.
    fn cancel(&mut self, id: &Value) -> Result<()> {
        let stream = self.open.remove(&id.to_string()).with_context(|| format!("{id} is not open"))?;
        stream.shutdown(Shutdown::Both).context("closing a POST")
    }

    fn receive(&mut self) -> Result<Arrival> {
        self.inbox.recv_timeout(WAIT).with_context(|| format!("nothing came within {WAIT:?}"))
    }
}
