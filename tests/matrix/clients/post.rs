//! The original's POST of envelopes: each request stands alone and gets its bare answer. Changes with that frontend.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use bridge_tests::http::{Url, request};
use serde_json::Value;

use super::wire::wrap;
use crate::client::{Arrival, Client, WAIT};

/// A client of one namespace.
pub(crate) struct PostClient {
    url: Url,
    namespace: &'static str,
    to_inbox: Sender<Arrival>,
    inbox: Receiver<Arrival>,
}

impl PostClient {
    pub(crate) fn new(url: &str, namespace: &'static str) -> Result<Self> {
        let (to_inbox, inbox) = channel();
        Ok(Self { url: Url::parse(url)?, namespace, to_inbox, inbox })
    }
}

impl Client for PostClient {
    fn send(&mut self, message: &Value) -> Result<()> {
        let body = wrap(message, self.namespace);
        let post = |url: &Url, body: &str| {
            request("POST", url, &[("Content-Type", "application/json")], body.as_bytes())
        };
        let Some(id) = message.get("id").cloned() else {
            let response = post(&self.url, &body)?;
            ensure!(response.head.status == 202, "{message} got {:?}", response.head);
            return Ok(());
        };
        let (url, inbox) = (self.url.clone(), self.to_inbox.clone());
        thread::spawn(move || {
            let arrival = match post(&url, &body).and_then(|response| response.json()) {
                Ok(answer) => Arrival::Message(answer),
                Err(error) => Arrival::Ended { id, why: format!("{error:#}") },
            };
            // Nobody may be interested any more.
            let _ = inbox.send(arrival);
        });
        Ok(())
    }

    fn cancel(&mut self, id: &Value) -> Result<()> {
        bail!("{id} cannot be given up")
    }

    fn receive(&mut self) -> Result<Arrival> {
        self.inbox.recv_timeout(WAIT).with_context(|| format!("nothing came within {WAIT:?}"))
    }
}
