//! The in-flight table of one upstream connection that carries many requests: which id and which progress token on the
//! wire belong to whom. The only code that maps them back.
//!
//! Changes when multiplexing changes. One call lives from `open` to exactly one of `close` or `forget`:
//!
//! ```text
//! open ──▶ in flight ──answer──▶ close ──▶ gone
//!              │
//!              └──caller left──▶ forget ──▶ gone (a late answer finds nothing)
//! ```

use std::collections::HashMap;

use bytes::Bytes;

use crate::frame::Frame;
use crate::id::Id;
use crate::splice::Edits;

/// Ids and tokens are drawn from one counter, so a token is never an id that is in use.
#[derive(Debug)]
pub struct Pending<T> {
    next: i64,
    calls: HashMap<i64, Call<T>>,
}

/// One call in flight.
#[derive(Debug)]
pub struct Call<T> {
    /// Who waits for it.
    pub owner: T,
    /// The caller's id as spelled.
    pub id: Bytes,
    /// The caller's progress token as spelled.
    pub token: Option<Bytes>,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self { next: 1, calls: HashMap::new() }
    }
}

impl<T> Pending<T> {
    /// An empty table that draws its numbers from a place of its own, which `random` chooses. There are servers that send
    /// what they say on one connection to all of them (one child behind several event streams): an answer to a number that
    /// another table has in use would be taken for that table's. The numbers stay exact in peers that read them as doubles.
    pub fn apart(random: u64) -> Self {
        // 51 bits leave room to count up to 2^53.
        Self { next: i64::try_from(random >> 13).unwrap_or_default() + 1, calls: HashMap::new() }
    }

    /// Enters a request and returns its number and the bytes to send, with id and progress token replaced.
    /// A frame that is no request is refused with `None`.
    pub fn open(&mut self, request: &Frame, owner: T) -> Option<(i64, Bytes)> {
        let id = request.envelope().id?;
        let number = self.next;
        self.next = self.next.checked_add(1)?;
        let wire = Bytes::from(number.to_string());
        let mut edits = Edits::new();
        edits.replace(id, wire.clone());
        let token = request.progress_token();
        if let Some(token) = token {
            edits.replace(token, wire);
        }
        let call = Call { owner, id: request.slice(id), token: token.map(|token| request.slice(token)) };
        self.calls.insert(number, call);
        Some((number, request.edited(edits)))
    }

    /// Ends the call that `response` answers and gives the bytes for its caller, id restored.
    pub fn close(&mut self, response: &Frame) -> Option<(Call<T>, Bytes)> {
        let Some(Id::Int(number)) = response.id() else { return None };
        let call = self.calls.remove(&number)?;
        let mut edits = Edits::new();
        if let Some(span) = response.envelope().id {
            edits.replace(span, call.id.clone());
        }
        let bytes = response.edited(edits);
        Some((call, bytes))
    }

    /// Ends a call whose caller has left.
    pub fn forget(&mut self, number: i64) -> Option<Call<T>> {
        self.calls.remove(&number)
    }

    /// The call that a progress notification is about, and the bytes for its caller, token restored.
    pub fn progress(&self, notification: &Frame) -> Option<(&Call<T>, Bytes)> {
        let span = notification.envelope().params.as_ref()?.members.progress_token?;
        let Some(Id::Int(number)) = notification.raw(Some(span)).and_then(Id::from_raw) else { return None };
        let call = self.calls.get(&number)?;
        let mut edits = Edits::new();
        edits.replace(span, call.token.clone()?);
        Some((call, notification.edited(edits)))
    }

    /// The call that a notification tagged with a subscription id is about, and the bytes with the id restored
    /// (2026-07-28: the tag is the id of the `subscriptions/listen` request).
    pub fn subscription(&self, notification: &Frame) -> Option<(&Call<T>, Bytes)> {
        let span = notification.envelope().params.as_ref()?.meta.subscription_id?;
        let Some(Id::Int(number)) = notification.raw(Some(span)).and_then(Id::from_raw) else { return None };
        let call = self.calls.get(&number)?;
        let mut edits = Edits::new();
        edits.replace(span, call.id.clone());
        Some((call, notification.edited(edits)))
    }

    /// The number under which a caller's request travels.
    pub fn find(&self, id: &Id) -> Option<i64> {
        self.calls
            .iter()
            .find(|(_, call)| Id::from_raw(&call.id).as_ref() == Some(id))
            .map(|(number, _)| *number)
    }

    /// The only call in flight whose owner counts, when there is exactly one.
    pub fn sole(&self, counts: impl Fn(&T) -> bool) -> Option<&Call<T>> {
        let mut calls = self.calls.values().filter(|call| counts(&call.owner));
        calls.next().filter(|_| calls.next().is_none())
    }

    /// Ends every call, for a connection that was lost.
    pub fn drain(&mut self) -> Vec<Call<T>> {
        self.calls.drain().map(|(_, call)| call).collect()
    }

    /// Calls in flight.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn frame(text: &str) -> Frame {
        Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::client(4096, 16)).unwrap()
    }

    fn call(id: &str) -> Frame {
        frame(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"x","_meta":{{"progressToken":"p"}}}}}}"#
        ))
    }

    #[test]
    fn equal_ids_of_two_callers_do_not_meet() {
        let mut pending = Pending::default();
        let (first, sent) = pending.open(&call("7"), "ann").unwrap();
        let (second, _) = pending.open(&call("7"), "bob").unwrap();
        assert_ne!(first, second);
        assert!(sent.starts_with(format!(r#"{{"jsonrpc":"2.0","id":{first},"#).as_bytes()));
        let answer = frame(&format!(r#"{{"jsonrpc":"2.0","id":{second},"result":{{}}}}"#));
        let (owner, bytes) = pending.close(&answer).unwrap();
        assert_eq!((owner.owner, bytes.as_ref()), ("bob", &br#"{"jsonrpc":"2.0","id":7,"result":{}}"#[..]));
        assert!(pending.close(&answer).is_none(), "one answer only");
        assert_eq!(pending.sole(|_| true).unwrap().owner, "ann");
    }

    #[test]
    fn tables_apart_share_no_numbers_and_all_of_them_are_exact_doubles() {
        let mut numbers = Vec::new();
        for random in [0, 1 << 13, u64::MAX / 3, u64::MAX] {
            let mut table = Pending::apart(random);
            numbers.push(table.open(&call("7"), ()).map(|(number, _)| number));
        }
        assert!(numbers.iter().all(|number| number.is_some_and(|number| (1..1 << 52).contains(&number))));
        numbers.dedup();
        assert_eq!(numbers.len(), 4, "{numbers:?}");
    }

    #[test]
    fn ids_and_tokens_come_back_in_the_callers_spelling() {
        let mut pending = Pending::default();
        let (number, _) = pending.open(&call(r#""a\u0062""#), ()).unwrap();
        let progress = frame(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{number},"progress":1}}}}"#
        ));
        assert_eq!(
            pending.progress(&progress).unwrap().1,
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}"#
        );
        let answer = frame(&format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{}}}}"#));
        assert_eq!(pending.close(&answer).unwrap().1, r#"{"jsonrpc":"2.0","id":"a\u0062","result":{}}"#);
        assert!(pending.progress(&progress).is_none(), "progress after the answer reaches nobody");
    }

    #[test]
    fn a_forgotten_call_gets_no_answer() {
        let mut pending = Pending::default();
        let (number, _) = pending.open(&call("1"), ()).unwrap();
        assert!(pending.forget(number).is_some());
        let answer = frame(&format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{}}}}"#));
        assert!(pending.close(&answer).is_none());
    }

    #[test]
    fn a_subscription_tag_comes_back_as_the_listens_id() {
        let mut pending = Pending::default();
        let (number, _) = pending.open(&call("\"L\""), ()).unwrap();
        let tagged = frame(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{number}}}}}}}"#
        ));
        assert!(pending.subscription(&tagged).unwrap().1.ends_with(br#"subscriptionId":"L"}}}"#));
    }
}
