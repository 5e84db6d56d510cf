//! Where the served configuration comes from and how fresh it is, for the health page and the metrics. Changes when these
//! show another fact.

use std::time::Instant;

use bridge_runtime::health::{Configuration, OtherPods};
use parking_lot::Mutex;

use super::peers::{Peers, PeersReceiver};

/// Other pods that the health page names.
const NAMED: usize = 10;

/// Where a configuration comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// An operator.
    Stream,
    /// What the pod saved before it was started again.
    LastKnownGood,
    /// What the operator saved for pods that start without it.
    ColdStart,
}

impl Source {
    /// The word in logs and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::LastKnownGood => "last_known_good",
            Self::ColdStart => "cold_start",
        }
    }
}

/// Shared by whoever changes it and the pages.
#[derive(Debug)]
pub(crate) struct Standing {
    facts: Mutex<Facts>,
    peers: PeersReceiver,
}

/// What is known now.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Where it comes from; `None` before there is any.
    pub(crate) source: Option<Source>,
    /// Revision that is served.
    pub(crate) revision: u64,
    /// Hash of what is served.
    pub(crate) hash: String,
    /// Whether a stream is open.
    pub(crate) connected: bool,
    /// Since when nobody confirms that it is current.
    pub(crate) unconfirmed_since: Instant,
    /// Resources that were sent and are not served.
    pub(crate) rejected: usize,
    /// Resources that were rejected since the start.
    pub(crate) rejections: u64,
    /// Changes that were held since the start.
    pub(crate) held: u64,
}

impl Standing {
    /// Nothing is served. `peers` has the other pods.
    pub(crate) fn new(now: Instant, peers: PeersReceiver) -> Self {
        let facts = Facts {
            source: None,
            revision: 0,
            hash: String::new(),
            connected: false,
            unconfirmed_since: now,
            rejected: 0,
            rejections: 0,
            held: 0,
        };
        Self { facts: Mutex::new(facts), peers }
    }

    /// The other pods of the gateway; `None` before an operator has named any.
    pub(crate) fn peers(&self) -> Option<Peers> {
        self.peers.borrow().clone()
    }

    /// As it is now.
    pub(crate) fn facts(&self) -> Facts {
        self.facts.lock().clone()
    }

    /// A stream has opened or ended.
    pub(super) fn connected(&self, connected: bool, now: Instant) {
        let mut facts = self.facts.lock();
        if facts.connected && !connected {
            facts.unconfirmed_since = now;
        }
        facts.connected = connected;
    }

    /// Something else is served.
    pub(super) fn serves(&self, source: Source, revision: u64, hash: &str, rejected: usize) {
        let mut facts = self.facts.lock();
        facts.source = Some(source);
        facts.revision = revision;
        facts.rejected = rejected;
        hash.clone_into(&mut facts.hash);
    }

    /// Resources were rejected.
    pub(super) fn rejects(&self, count: usize) {
        self.facts.lock().rejections += count as u64;
    }

    /// A change was held.
    pub(super) fn holds(&self) {
        self.facts.lock().held += 1;
    }

    /// For the health page.
    pub(crate) fn describe(&self, now: Instant) -> Configuration {
        let facts = self.facts();
        let age = facts.age(now);
        let message = match (facts.source, facts.connected) {
            (None, true) => "waiting for the operator's first configuration".to_owned(),
            (None, false) => "no operator answers and no configuration is saved".to_owned(),
            (Some(_), true) => format!("revision {} of the operator", facts.revision),
            (Some(source), false) => {
                let origin = match source {
                    Source::Stream => "of the operator",
                    Source::LastKnownGood => "saved before the restart",
                    Source::ColdStart => "saved for cold starts",
                };
                format!("revision {} {origin}; no operator has answered for {age} s", facts.revision)
            }
        };
        let message = match facts.rejected {
            0 => message,
            rejected => format!("{message}; {rejected} resources are rejected"),
        };
        let named = |peers: &Peers| peers.names(NAMED).into_iter().map(str::to_owned).collect();
        let peers = self.peers().map(|peers| OtherPods { count: peers.count(), some: named(&peers) });
        let (healthy, source) = (facts.source.is_some(), facts.source.map(Source::as_str));
        Configuration { healthy, source, message, peers }
    }
}

impl Facts {
    /// Seconds since somebody confirmed that the configuration is current; 0 while a stream is open.
    pub(crate) fn age(&self, now: Instant) -> u64 {
        if self.connected { 0 } else { now.saturating_duration_since(self.unconfirmed_since).as_secs() }
    }
}
