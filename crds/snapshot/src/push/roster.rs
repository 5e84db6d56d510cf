//! The pods of a gateway, indexed by the order in which they came, changed and went: what a stream was not told of is found
//! from one number. Changes when the index does.

use std::collections::{BTreeMap, VecDeque};

use super::{Peer, Peers};

/// The pods, and when each changed.
#[derive(Debug)]
pub(super) struct Roster {
    slots: BTreeMap<String, Slot>,
    /// The uids in the order of their latest change, each once.
    order: BTreeMap<u64, String>,
    /// The changes by which pods went, oldest first.
    gone: VecDeque<u64>,
    latest: u64,
    /// The last change that is not remembered: who was told less begins anew.
    forgotten: u64,
    /// Pods that one message names.
    at_once: usize,
    /// Whether anybody has said which pods there are.
    is_known: bool,
}

#[derive(Debug)]
struct Slot {
    /// Absent for a pod that went, as long as that is remembered.
    peer: Option<Peer>,
    changed: u64,
}

/// What one stream was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    seq: u64,
    /// Everything up to this change; absent before the first message is answered.
    upto: Option<u64>,
    /// The latest change when it last began anew: it never heard of pods that had gone by then.
    began: u64,
    /// What it will have been told when the message on its way is answered.
    unanswered: Option<u64>,
}

/// So many messages are full of pods that went and are still remembered.
const REMEMBERED: usize = 4;

impl Roster {
    /// Of which nothing is known. `at_once` is how many pods one message names.
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            slots: BTreeMap::new(),
            order: BTreeMap::new(),
            gone: VecDeque::new(),
            latest: 0,
            forgotten: 0,
            at_once: at_once.max(1),
            is_known: false,
        }
    }

    /// These are the pods now. Whether that is news.
    pub(super) fn set(&mut self, peers: impl IntoIterator<Item = Peer>) -> bool {
        let before = (self.latest, self.is_known);
        self.is_known = true;
        let mut now: BTreeMap<_, _> = peers.into_iter().map(|peer| (peer.uid.clone(), peer)).collect();
        let mut changes = Vec::new();
        for (uid, Slot { peer, .. }) in &self.slots {
            let wanted = now.remove(uid);
            if *peer != wanted {
                changes.push((uid.clone(), wanted));
            }
        }
        changes.extend(now.into_iter().map(|(uid, peer)| (uid, Some(peer))));
        for (uid, peer) in changes {
            self.put(uid, peer);
        }
        while self.gone.len() > self.at_once * REMEMBERED {
            self.forget();
        }
        before != (self.latest, true)
    }

    fn put(&mut self, uid: String, peer: Option<Peer>) {
        self.latest += 1;
        if peer.is_none() {
            self.gone.push_back(self.latest);
        }
        self.order.insert(self.latest, uid.clone());
        if let Some(old) = self.slots.insert(uid, Slot { peer, changed: self.latest }) {
            self.order.remove(&old.changed);
        }
    }

    /// Forgets that a pod went.
    fn forget(&mut self) {
        let Some(change) = self.gone.pop_front() else { return };
        // Absent when it has come back since.
        if let Some(uid) = self.order.remove(&change) {
            self.slots.remove(&uid);
        }
        self.forgotten = change;
    }

    /// The next message for a stream, when the one before is answered and there is something to tell.
    pub(super) fn next(&self, told: &mut Told) -> Option<Peers> {
        if !self.is_known || told.unanswered.is_some() {
            return None;
        }
        let upto = told.upto.filter(|upto| told.began.max(*upto) >= self.forgotten);
        if upto == Some(self.latest) {
            return None;
        }
        let all = upto.is_none();
        if all {
            told.began = self.latest;
        }
        let (mut upsert, mut remove, mut target) = (Vec::new(), Vec::new(), self.latest);
        for (&change, uid) in self.order.range(upto.map_or(0, |upto| upto + 1)..) {
            let peer = self.slots.get(uid).and_then(|slot| slot.peer.as_ref());
            if peer.is_none() && change <= told.began {
                continue;
            }
            if upsert.len() + remove.len() == self.at_once {
                target = change - 1;
                break;
            }
            match peer {
                Some(peer) => upsert.push(peer.clone()),
                None => remove.push(uid.clone()),
            }
        }
        told.seq += 1;
        told.unanswered = Some(target);
        Some(Peers { seq: told.seq, all, upsert, remove, last: target == self.latest })
    }
}

impl Told {
    /// A message was answered.
    pub(super) fn answered(&mut self, seq: u64) -> Result<(), &'static str> {
        if seq > self.seq {
            return Err("an answer to what was never said about pods");
        }
        if seq == self.seq
            && let Some(upto) = self.unanswered.take()
        {
            self.upto = Some(upto);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: usize) -> Peer {
        let address = [10, 0, 0, u8::try_from(number % 250).unwrap()].into();
        Peer { pod: format!("main-{number}"), uid: format!("u{number:04}"), addresses: vec![address] }
    }

    /// Tells a stream everything; gives how many messages and how many names that took.
    fn tell(roster: &Roster, told: &mut Told) -> (usize, usize) {
        let (mut messages, mut names) = (0, 0);
        while let Some(message) = roster.next(told) {
            names += message.upsert.len() + message.remove.len();
            messages += 1;
            assert!(message.upsert.len() + message.remove.len() <= roster.at_once);
            assert_eq!(roster.next(told), None, "two messages on their way");
            told.answered(message.seq).unwrap();
        }
        (messages, names)
    }

    #[test]
    fn nothing_is_told_before_anything_is_known() {
        let (mut roster, mut told) = (Roster::new(8), Told::default());
        assert_eq!(roster.next(&mut told), None);
        assert!(roster.set([]));
        let nobody = Peers { seq: 1, all: true, upsert: vec![], remove: vec![], last: true };
        assert_eq!(roster.next(&mut told), Some(nobody));
    }

    #[test]
    fn a_rollout_costs_each_stream_two_names_for_each_pod() {
        let (mut roster, mut told) = (Roster::new(64), Told::default());
        roster.set((0..300).map(peer));
        assert_eq!(tell(&roster, &mut told), (5, 300));
        let mut names = 0;
        for step in 1..=300 {
            assert!(roster.set((step..step + 300).map(peer)));
            names += tell(&roster, &mut told).1;
        }
        assert_eq!(names, 600, "each pod that came and each that went, once");
        assert!(!roster.set((300..600).map(peer)), "the same again is no news");
        assert_eq!(roster.slots.len(), 300 + 64 * REMEMBERED, "those that went long ago are forgotten");
        assert_eq!(roster.slots.len(), roster.order.len());
    }

    #[test]
    fn whoever_missed_more_than_is_remembered_begins_anew() {
        let (mut roster, mut told) = (Roster::new(2), Told::default());
        roster.set((0..20).map(peer));
        tell(&roster, &mut told);
        roster.set((7..20).map(peer));
        assert_eq!(tell(&roster, &mut told), (4, 7), "seven are remembered");
        roster.set((16..20).map(peer));
        let message = roster.next(&mut told).unwrap();
        assert!(message.all && !message.last && message.remove.is_empty(), "{message:?}");
        told.answered(message.seq).unwrap();
        assert_eq!(tell(&roster, &mut told), (1, 2), "it goes on where it began");
    }

    #[test]
    fn a_stream_that_does_not_answer_is_told_the_outcome_only() {
        let (mut roster, mut told) = (Roster::new(8), Told::default());
        roster.set([peer(1)]);
        let first = roster.next(&mut told).unwrap();
        for other in 2..6 {
            roster.set([peer(1), peer(other)]);
            assert_eq!(roster.next(&mut told), None);
        }
        told.answered(first.seq).unwrap();
        let second = roster.next(&mut told).unwrap();
        assert_eq!(second.upsert, [peer(5)]);
        assert_eq!(second.remove, ["u0002", "u0003", "u0004"], "it does not matter that it never knew them");
        assert!(told.answered(9).is_err());
    }
}
