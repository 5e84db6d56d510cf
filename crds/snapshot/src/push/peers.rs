//! The pods of a gateway, as messages name them and as a pod knows them. Changes when pods know something else of each
//! other.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The word in `features` of a pod that understands [`Peers`].
pub const PEERS: &str = "peers";

/// A pod of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name.
    pub pod: String,
    /// Its uid: a pod that was made anew under the same name is another one.
    pub uid: String,
    /// Where it is, at least one.
    pub addresses: Vec<IpAddr>,
}

/// The pods of a gateway, or what is different about them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peers {
    /// Position among the messages of this kind on the stream: 1, 2, 3…
    pub seq: u64,
    /// Nothing that was said before counts any more. So begins every stream.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
    /// Pods that are new or different.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upsert: Vec<Peer>,
    /// Uids of pods that are gone or about to go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Whether that is all for now. What begins with `all` counts only then.
    pub last: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What a pod knows of the others. It survives every end of a stream.
#[derive(Debug, Default)]
pub(super) struct PeerBook {
    known: Option<BTreeMap<String, Peer>>,
    stream: Hearing,
}

/// What came on the present stream.
#[derive(Debug, Default)]
struct Hearing {
    seq: u64,
    /// All of them, as far as they have come.
    gathering: Option<BTreeMap<String, Peer>>,
}

impl PeerBook {
    /// A stream is open.
    pub(super) fn begin(&mut self) {
        self.stream = Hearing::default();
    }

    /// Other pods by uid; `None` before anybody has named them.
    pub(super) fn known(&self) -> Option<&BTreeMap<String, Peer>> {
        self.known.as_ref()
    }

    /// A message has come to the pod whose uid is `own`. Whether it is new, and to be answered.
    pub(super) fn hear(&mut self, message: Peers, own: &str) -> Result<bool, &'static str> {
        let Peers { seq, all, upsert, remove, last } = message;
        if seq <= self.stream.seq {
            return Ok(false);
        }
        if seq != self.stream.seq + 1 {
            return Err("a message about pods is missing");
        }
        if all {
            self.stream.gathering = Some(BTreeMap::new());
        } else if self.stream.seq == 0 {
            return Err("the first message about pods does not name all of them");
        }
        self.stream.seq = seq;
        let Some(pods) = self.stream.gathering.as_mut().or(self.known.as_mut()) else { return Ok(true) };
        for uid in &remove {
            pods.remove(uid);
        }
        let others = upsert.into_iter().filter(|peer| peer.uid != own);
        pods.extend(others.map(|peer| (peer.uid.clone(), peer)));
        if last && let Some(gathered) = self.stream.gathering.take() {
            self.known = Some(gathered);
        }
        Ok(true)
    }
}
