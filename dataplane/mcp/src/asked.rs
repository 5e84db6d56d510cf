//! Requests that backends put to a legacy client and that wait for its answer: whose they are and how they were spelled.
//!
//! Changes when requests to clients are mapped differently. Towards a client of several backends, ids and progress
//! tokens are renamed, because each backend numbers its own; towards a client of one backend they are kept.

use std::collections::HashMap;

use bytes::Bytes;

use crate::frame::Frame;
use crate::id::Id;
use crate::scan::Span;
use crate::splice::Edits;

/// Requests that may wait at once; a client that answers none of them cannot make the gateway hold more.
const MAX_WAITING: usize = 1024;

/// The requests that wait. `O` names a backend.
#[derive(Debug)]
pub struct Asked<O> {
    rename: bool,
    next: i64,
    waiting: HashMap<Id, Question<O>>,
}

#[derive(Debug)]
struct Question<O> {
    owner: O,
    id: Bytes,
    token: Option<Bytes>,
    /// The token as the client sees it.
    client_token: Option<Id>,
    renamed: bool,
}

impl<O: Clone + PartialEq> Asked<O> {
    /// An empty table.
    pub fn new(rename: bool) -> Self {
        Self { rename, next: 1, waiting: HashMap::new() }
    }

    /// Enters a backend's request and gives the bytes for the client, with the id under which the client sees it. `None`
    /// when too many wait or it is no request. An id that still waits is never reused.
    pub fn open(&mut self, owner: O, request: &Frame) -> Option<(Id, Bytes)> {
        let span = request.envelope().id?;
        if self.waiting.len() >= MAX_WAITING {
            return None;
        }
        let copy = |span: Span| Bytes::copy_from_slice(span.of(request.bytes()));
        let token = request.progress_token();
        let id = request.id()?;
        let rename = self.rename || self.waiting.contains_key(&id);
        let mut question =
            Question { owner, id: copy(span), token: token.map(copy), client_token: None, renamed: rename };
        if !rename {
            question.client_token = question.token.as_deref().and_then(Id::from_raw);
            self.waiting.insert(id.clone(), question);
            return Some((id, request.bytes().clone()));
        }
        let number = self.fresh()?;
        let spelled = Bytes::from(number.to_string());
        let mut edits = Edits::new();
        edits.replace(span, spelled.clone());
        if let Some(token) = token {
            edits.replace(token, spelled);
            question.client_token = Some(Id::Int(number));
        }
        self.waiting.insert(Id::Int(number), question);
        Some((Id::Int(number), request.edited(edits)))
    }

    /// A number under which nothing waits.
    fn fresh(&mut self) -> Option<i64> {
        loop {
            let number = self.next;
            self.next = self.next.checked_add(1)?;
            if !self.waiting.contains_key(&Id::Int(number)) {
                return Some(number);
            }
        }
    }

    /// Drops a request whose call has ended. `false` when it was answered before.
    pub fn withdraw(&mut self, id: &Id) -> bool {
        self.waiting.remove(id).is_some()
    }

    /// Ends the request that `response` answers and gives the bytes for its backend.
    pub fn close(&mut self, response: &Frame) -> Option<(O, Bytes)> {
        let question = self.waiting.remove(&response.id()?)?;
        let mut edits = Edits::new();
        if question.renamed {
            edits.replace(response.envelope().id?, question.id);
        }
        Some((question.owner, response.edited(edits)))
    }

    /// Whose request a client's progress notification is about, and the bytes for that backend.
    pub fn progress(&self, notification: &Frame) -> Option<(O, Bytes)> {
        let span = notification.envelope().params.as_ref()?.members.progress_token?;
        let token = notification.raw(Some(span)).and_then(Id::from_raw);
        let question = self
            .waiting
            .values()
            .find(|question| question.client_token.is_some() && question.client_token == token)?;
        let mut edits = Edits::new();
        if question.renamed {
            edits.replace(span, question.token.clone()?);
        }
        Some((question.owner.clone(), notification.edited(edits)))
    }

    /// Ends the request that its own backend cancels and gives the notification for the client.
    pub fn cancelled(&mut self, owner: &O, notification: &Frame) -> Option<Bytes> {
        let span = notification.envelope().params.as_ref()?.members.request_id?;
        let id = notification.raw(Some(span)).and_then(Id::from_raw)?;
        let (key, question) = self.waiting.iter().find(|(_, question)| {
            question.owner == *owner && Id::from_raw(&question.id).as_ref() == Some(&id)
        })?;
        let (key, renamed) = (key.clone(), question.renamed);
        self.waiting.remove(&key);
        let mut edits = Edits::new();
        if renamed && let Id::Int(number) = key {
            edits.replace(span, number.to_string());
        }
        Some(notification.edited(edits))
    }

    /// Drops the requests of a backend that is gone.
    pub fn forget(&mut self, owner: &O) {
        self.waiting.retain(|_, question| question.owner != *owner);
    }

    /// Requests waiting.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn frame(text: &str) -> Frame {
        Frame::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::client(4096, 16)).unwrap()
    }

    fn sampling(id: &str) -> Frame {
        frame(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"sampling/createMessage","params":{{"_meta":{{"progressToken":"t"}}}}}}"#
        ))
    }

    #[test]
    fn equal_ids_of_two_backends_find_their_way_back() {
        let mut asked = Asked::new(true);
        let first = frame(std::str::from_utf8(&asked.open("a", &sampling("0")).unwrap().1).unwrap());
        let second = frame(std::str::from_utf8(&asked.open("b", &sampling("0")).unwrap().1).unwrap());
        assert_ne!(first.id(), second.id());
        let answer = |id: &[u8]| {
            frame(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, String::from_utf8_lossy(id)))
        };
        let (owner, bytes) = asked.close(&answer(second.raw_id().unwrap())).unwrap();
        assert_eq!((owner, bytes.as_ref()), ("b", &br#"{"jsonrpc":"2.0","id":0,"result":{}}"#[..]));
        assert!(asked.close(&answer(second.raw_id().unwrap())).is_none(), "one answer only");
        assert_eq!(asked.close(&answer(first.raw_id().unwrap())).unwrap().0, "a");
    }

    #[test]
    fn one_backend_keeps_its_ids() {
        let mut asked = Asked::new(false);
        let request = sampling("\"x\"");
        assert_eq!(asked.open("a", &request).unwrap().1, request.bytes());
    }

    #[test]
    fn progress_and_cancellation_are_mapped() {
        let mut asked = Asked::new(true);
        asked.open("a", &sampling("0")).unwrap();
        let shown = frame(std::str::from_utf8(&asked.open("b", &sampling("0")).unwrap().1).unwrap());
        let token = String::from_utf8_lossy(shown.raw(shown.progress_token()).unwrap()).into_owned();
        let progress = frame(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        ));
        let (owner, bytes) = asked.progress(&progress).unwrap();
        assert_eq!(owner, "b");
        assert!(bytes.ends_with(br#""progressToken":"t","progress":1}}"#));
        let cancel =
            frame(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":0}}"#);
        let told = frame(std::str::from_utf8(&asked.cancelled(&"b", &cancel).unwrap()).unwrap());
        let params = told.envelope().params.as_ref().unwrap();
        assert_eq!(told.raw(params.members.request_id), shown.raw_id());
        assert_eq!(asked.len(), 1, "the other backend's question still waits");
    }

    #[test]
    fn a_backend_cannot_pile_up_questions() {
        let mut asked = Asked::new(true);
        for id in 0..2000 {
            asked.open("a", &sampling(&id.to_string()));
        }
        assert_eq!(asked.len(), 1024);
    }

    #[test]
    fn an_id_that_still_waits_is_not_given_away() {
        let mut asked = Asked::new(false);
        let (first, _) = asked.open("old", &sampling("7")).unwrap();
        let (second, bytes) = asked.open("new", &sampling("7")).unwrap();
        assert_ne!(first, second);
        let shown = frame(std::str::from_utf8(&bytes).unwrap());
        let raw = String::from_utf8_lossy(shown.raw_id().unwrap()).into_owned();
        let answer = frame(&format!(r#"{{"jsonrpc":"2.0","id":{raw},"result":{{}}}}"#));
        let (owner, bytes) = asked.close(&answer).unwrap();
        assert_eq!((owner, bytes.as_ref()), ("new", &br#"{"jsonrpc":"2.0","id":7,"result":{}}"#[..]));
        asked.withdraw(&first);
        assert!(asked.is_empty());
    }
}
