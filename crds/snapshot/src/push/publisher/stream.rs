//! One stream of the operator's end: what its pod has, what is on its way, what has to wait. Changes when a message is
//! answered differently.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::trial::{Overlay, Versions, digest, is_that, versions};
use super::{StreamId, StreamState};
use crate::push::catalogue::{Catalogue, Difference};
use crate::push::roster::Told;
use crate::push::{Delta, Digest, Entry, Held, HeldReason, Key, PEERS, PodHello, Rejection, Version};

/// A pod cannot put off a change for longer than this by one message.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// One connection of a pod.
#[derive(Debug, Default)]
pub(super) struct Stream {
    pod: Option<Pod>,
    position: Position,
    seq: u64,
    sending: Option<Sending>,
    waiting: Option<Waiting>,
    completed: Option<(u64, Vec<Rejection>)>,
    /// What the pod has in place of what is in the catalogue.
    instead: Versions,
    /// What the pod was told of the others; absent for one that does not understand it.
    told: Option<Told>,
}

#[derive(Debug)]
struct Pod {
    name: String,
    uid: String,
    build: String,
    rejected: BTreeMap<Key, Rejection>,
}

/// What the pod was sent before.
#[derive(Debug, Default)]
enum Position {
    /// It has not said so yet.
    #[default]
    Unknown,
    /// Something with this fingerprint.
    Like(Digest),
    /// Exactly this.
    Offered(BTreeMap<Key, Version>),
    /// Everything up to this change of the catalogue.
    At(u64),
}

/// A change on its way, as it was when it began: what changes meanwhile is the next one.
#[derive(Debug)]
struct Sending {
    /// Everything that it is about.
    keys: Vec<Key>,
    upsert: VecDeque<Entry>,
    remove: Vec<Key>,
    revision: u64,
    digest: Digest,
    /// The change of the catalogue that the pod will have.
    target: u64,
    /// What it will have in place of what is there.
    instead: Versions,
    /// Position of the part that is not answered yet; `None` when the next part may go.
    unanswered: Option<Part>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    seq: u64,
    last: bool,
}

/// The pod held a change.
#[derive(Debug)]
struct Waiting {
    until: Instant,
    /// It serves this revision: one that is not older may go at once.
    revision: Option<u64>,
}

impl Stream {
    /// The pod says who it is and what it has. Whether it is the first time.
    pub(super) fn greet(&mut self, hello: PodHello) -> bool {
        // What a pod asks for once more, it refuses until it says otherwise.
        let asks_again = |(_, rejection): &(Key, Rejection)| {
            let serves = hello.have.iter().any(|have| {
                (have.kind, &have.name, have.version) == (rejection.kind, &rejection.name, rejection.version)
            });
            hello.digest.is_none() && !serves
        };
        let first = self.pod.is_none();
        let before = self.pod.take().into_iter().flat_map(|pod| pod.rejected);
        let mut rejected: BTreeMap<_, _> = before.filter(asks_again).collect();
        rejected.extend(hello.rejected.iter().map(|rejection| (rejection.key(), rejection.clone())));
        self.position = match hello.digest {
            // That of nothing.
            Some(digest) if digest == Digest::default() => Position::Offered(BTreeMap::new()),
            Some(digest) => Position::Like(digest),
            None => {
                let have = hello.have.into_iter().map(|have| (Key::new(have.kind, have.name), have.version));
                let rejected = hello.rejected.iter().map(|rejection| (rejection.key(), rejection.version));
                Position::Offered(have.chain(rejected).collect())
            }
        };
        if first && hello.features.iter().any(|feature| feature == PEERS) {
            self.told = Some(Told::default());
        }
        self.pod = Some(Pod { name: hello.pod, uid: hello.uid, build: hello.build, rejected });
        self.sending = None;
        self.waiting = None;
        self.instead.clear();
        first
    }

    /// The pod has a part, or serves the whole change but what it rejected.
    pub(super) fn acknowledged(
        &mut self,
        seq: u64,
        rejected: Vec<Rejection>,
        catalogue: &Catalogue,
    ) -> Result<(), &'static str> {
        let Some(part) = self.answered(seq)? else { return Ok(()) };
        if !part.last {
            return if rejected.is_empty() { Ok(()) } else { Err("a part of a change cannot be rejected") };
        }
        let (Some(sent), Some(pod)) = (self.sending.take(), &mut self.pod) else { return Ok(()) };
        self.position = Position::At(sent.target);
        self.instead = sent.instead;
        for key in &sent.keys {
            pod.rejected.remove(key);
        }
        // A pod can refuse what it was sent, now or earlier, and nothing else.
        let now: BTreeSet<_> = sent.keys.iter().collect();
        let rejected = rejected.into_iter().map(|rejection| (rejection.key(), rejection));
        let sent_once = |key: &Key, version| now.contains(key) || catalogue.version(key) == Some(version);
        pod.rejected.extend(rejected.filter(|(key, rejection)| sent_once(key, rejection.version)));
        self.completed = Some((sent.revision, pod.rejected.values().cloned().collect()));
        Ok(())
    }

    /// The pod serves nothing of the change yet. Whether that was about a change that is on its way.
    pub(super) fn held(&mut self, seq: u64, held: &Held, now: Instant) -> Result<bool, &'static str> {
        let Some(part) = self.answered(seq)? else { return Ok(false) };
        if !part.last {
            return Err("a part of a change cannot be held");
        }
        self.sending = None;
        self.waiting = Some(Waiting {
            until: now + Duration::from_millis(held.retry_after_ms).min(LONGEST_WAIT),
            revision: (held.reason == HeldReason::Older).then_some(held.revision),
        });
        Ok(true)
    }

    /// The pod has a message about the others.
    pub(super) fn heard_of_peers(&mut self, seq: u64) -> Result<(), &'static str> {
        self.told.as_mut().map_or(Ok(()), |told| told.answered(seq))
    }

    /// What the pod was told of the others, if it is to be told.
    pub(super) fn told(&mut self) -> Option<&mut Told> {
        self.told.as_mut()
    }

    /// What the pod serves since the last time somebody asked.
    pub(super) fn completed(&mut self) -> Option<(u64, Vec<Rejection>)> {
        self.completed.take()
    }

    /// Whether a change may be sent, if there is one up to change `latest` of the catalogue, of which `overlay` covers
    /// something for this pod.
    pub(super) fn may_begin(&self, latest: u64, overlay: &Overlay, revision: u64, now: Instant) -> bool {
        let lacks = match self.position {
            Position::Unknown => false,
            Position::Like(_) | Position::Offered(_) => true,
            Position::At(cursor) => cursor < latest || !is_that(&self.instead, overlay),
        };
        let patient = self.waiting.as_ref().is_none_or(|waiting| {
            waiting.until <= now || waiting.revision.is_some_and(|newest| revision >= newest)
        });
        self.pod.is_some() && self.sending.is_none() && lacks && patient
    }

    /// Whether the pod has something else than `all`, and has to say what: that is asked for once.
    pub(super) fn has_to_tell(&mut self, all: Digest) -> bool {
        let unlike = matches!(self.position, Position::Like(digest) if digest != all);
        if unlike {
            self.position = Position::Unknown;
        }
        unlike
    }

    /// Nothing keeps a change back any more.
    pub(super) fn has_waited(&mut self) {
        self.waiting = None;
    }

    /// A change begins: everything that the pod lacks now.
    pub(super) fn begin(&mut self, catalogue: &Catalogue, overlay: &Overlay, revision: u64) {
        let mut lacks = match &self.position {
            Position::Offered(offered) => catalogue.beyond(offered),
            Position::At(cursor) => catalogue.since(*cursor),
            Position::Like(_) | Position::Unknown => Difference::default(),
        };
        let covered: BTreeSet<_> = overlay.keys().chain(self.instead.keys()).cloned().collect();
        lacks.upsert.retain(|entry| !covered.contains(&entry.key));
        lacks.remove.retain(|key| !covered.contains(key));
        for key in covered {
            let entry = overlay.get(&key).cloned().unwrap_or_else(|| catalogue.get(&key).cloned());
            let version = entry.as_ref().map(|entry| entry.version);
            match entry {
                _ if self.instead.get(&key) == Some(&version) => {}
                Some(entry) => lacks.upsert.push(entry),
                None => lacks.remove.push(key),
            }
        }
        let Difference { upsert, remove } = lacks;
        let keys: Vec<_> = upsert.iter().map(|entry| &entry.key).chain(&remove).cloned().collect();
        if let Some(pod) = self.pod.as_mut().filter(|pod| !pod.rejected.is_empty()) {
            // Of what it does not get again it can only refuse what is there.
            let again: BTreeSet<_> = keys.iter().collect();
            pod.rejected.retain(|key, rejection| {
                let here = overlay.get(key).map(|entry| entry.as_ref().map(|entry| entry.version));
                let here = here.unwrap_or_else(|| catalogue.version(key));
                again.contains(key) || here == Some(rejection.version)
            });
        }
        self.sending = Some(Sending {
            keys,
            upsert: upsert.into(),
            remove,
            revision,
            digest: digest(catalogue.digest(), overlay, |key| catalogue.version(key)),
            target: catalogue.latest(),
            instead: versions(overlay),
            unanswered: None,
        });
    }

    /// The next part of the change, when the one before is answered.
    pub(super) fn next_part(&mut self, most_bytes: usize) -> Option<Delta> {
        let sending = self.sending.as_mut().filter(|sending| sending.unanswered.is_none())?;
        let (mut upsert, mut bytes) = (Vec::new(), 0);
        while let Some(entry) = sending.upsert.pop_front() {
            bytes += entry.body().len();
            if bytes > most_bytes && !upsert.is_empty() {
                sending.upsert.push_front(entry);
                break;
            }
            upsert.push(entry);
        }
        let last = sending.upsert.is_empty();
        self.seq += 1;
        sending.unanswered = Some(Part { seq: self.seq, last });
        Some(Delta {
            seq: self.seq,
            revision: sending.revision,
            upsert,
            remove: if last { std::mem::take(&mut sending.remove) } else { Vec::new() },
            last,
            digest: sending.digest,
        })
    }

    /// Whether the pod's first change is not done.
    pub(super) fn is_new(&self) -> bool {
        !matches!(self.position, Position::At(_))
    }

    /// The change of the catalogue up to which the pod has everything; `None` before its first is done.
    pub(super) fn cursor(&self) -> Option<u64> {
        match self.position {
            Position::At(cursor) => Some(cursor),
            Position::Unknown | Position::Like(_) | Position::Offered(_) => None,
        }
    }

    /// What the pod has in place of what is in the catalogue.
    pub(super) fn instead(&self) -> &Versions {
        &self.instead
    }

    /// Whether the pod refuses what it was sent for a key.
    pub(super) fn refuses(&self, key: &Key) -> bool {
        self.pod.as_ref().is_some_and(|pod| pod.rejected.contains_key(key))
    }

    /// Name of the pod, once it has said it.
    pub(super) fn name(&self) -> Option<&str> {
        self.pod.as_ref().map(|pod| &*pod.name)
    }

    /// Whether a change is on its way.
    pub(super) fn is_sending(&self) -> bool {
        self.sending.is_some()
    }

    /// When a change that was held may be sent again.
    pub(super) fn wakes(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.until)
    }

    /// The change of the catalogue beyond which nothing may be forgotten.
    pub(super) fn needs_since(&self) -> Option<u64> {
        match self.position {
            Position::At(cursor) => Some(cursor),
            _ => self.sending.as_ref().map(|sending| sending.target),
        }
    }

    /// How far the pod is; `None` before it has said who it is.
    pub(super) fn state(&self, stream: StreamId, latest: u64) -> Option<StreamState<'_>> {
        let pod = self.pod.as_ref()?;
        Some(StreamState {
            stream,
            pod: &pod.name,
            uid: &pod.uid,
            build: &pod.build,
            change: self.cursor(),
            current: matches!(self.position, Position::At(cursor) if cursor == latest),
            rejected: pod.rejected.values().collect(),
        })
    }

    /// Takes note of an answer. `None` for one that has come before.
    fn answered(&mut self, seq: u64) -> Result<Option<Part>, &'static str> {
        if seq > self.seq {
            return Err("an answer to what was never sent");
        }
        let Some(sending) = &mut self.sending else { return Ok(None) };
        match sending.unanswered {
            Some(part) if part.seq == seq => Ok(sending.unanswered.take()),
            _ => Ok(None),
        }
    }
}
