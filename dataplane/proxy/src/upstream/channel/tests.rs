use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use tokio::sync::mpsc;

/// A backend that is scripted message by message.
struct Backend {
    reads: mpsc::Receiver<Bytes>,
    writes: mpsc::Sender<Result<Bytes, FramingError>>,
}

#[derive(Default)]
struct Recorder {
    notices: Mutex<Vec<Method>>,
    requests: Mutex<Vec<Method>>,
    /// The client reads no notification stream.
    deaf: AtomicBool,
}

impl Owner for Recorder {
    fn notice(&self, frame: Frame) {
        self.notices.lock().push(frame.method());
    }

    fn request(&self, frame: Frame, in_call: bool) -> Taken {
        if in_call && self.deaf.load(Ordering::Relaxed) {
            return Taken::ForAnyCall(frame);
        }
        self.requests.lock().push(frame.method());
        Taken::Yes
    }
}

impl Backend {
    async fn read(&mut self) -> Frame {
        parse(&self.reads.recv().await.unwrap())
    }

    async fn write(&self, text: &str) {
        self.writes.send(Ok(Bytes::copy_from_slice(text.as_bytes()))).await.unwrap();
    }

    /// Everything written before this is processed once the answer to the ping is there.
    async fn settle(&mut self) {
        self.write(r#"{"jsonrpc":"2.0","id":"settle","method":"ping"}"#).await;
        while self.read().await.id() != Id::from_raw(b"\"settle\"") {}
    }
}

fn parse(bytes: &[u8]) -> Frame {
    Frame::parse(Bytes::copy_from_slice(bytes), &Limits::backend(1 << 20, 32)).unwrap()
}

fn call(id: &str) -> Frame {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"x","_meta":{{"progressToken":{id}}}}}}}"#
    );
    parse(text.as_bytes())
}

fn start(era: Era) -> (Channel, Backend, Arc<Recorder>) {
    let (outbound, reads) = mpsc::channel(16);
    let (writes, inbound) = mpsc::channel(16);
    let owner = Arc::new(Recorder::default());
    let channel = Channel::start(
        "fs".into(),
        era,
        Limits::backend(1 << 20, 32),
        Wire { outbound, inbound },
        Arc::clone(&owner) as Arc<dyn Owner>,
        CancellationToken::new(),
    )
    .unwrap();
    (channel, Backend { reads, writes }, owner)
}

async fn open(channel: &Channel, frame: &Frame, on_leave: OnLeave) -> Messages {
    match channel.request(frame, on_leave, None).await.unwrap() {
        Answer::Stream(messages) => messages,
        Answer::Whole { .. } | Answer::Forward(_) => panic!("a channel answers with messages"),
    }
}

fn raw_id(frame: &Frame) -> String {
    String::from_utf8_lossy(frame.raw_id().unwrap()).into_owned()
}

async fn answer(messages: &mut Messages) -> Bytes {
    match messages.next().await.unwrap() {
        Event::Answer(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_clients_with_one_id_get_their_own_answers() {
    let (channel, mut backend, _) = start(Era::Modern);
    let mut ann = open(&channel, &call("7"), OnLeave::Cancel).await;
    let mut bob = open(&channel, &call("7"), OnLeave::Cancel).await;
    let (first, second) = (raw_id(&backend.read().await), raw_id(&backend.read().await));
    backend.write(&format!(r#"{{"jsonrpc":"2.0","id":{second},"result":{{"for":"bob"}}}}"#)).await;
    backend.write(&format!(r#"{{"jsonrpc":"2.0","id":{first},"result":{{"for":"ann"}}}}"#)).await;
    assert_eq!(answer(&mut bob).await, r#"{"jsonrpc":"2.0","id":7,"result":{"for":"bob"}}"#);
    assert_eq!(answer(&mut ann).await, r#"{"jsonrpc":"2.0","id":7,"result":{"for":"ann"}}"#);
}

#[tokio::test]
async fn progress_comes_before_the_answer_and_only_to_its_caller() {
    let (channel, mut backend, owner) = start(Era::Legacy);
    let mut ann = open(&channel, &call("1"), OnLeave::Continue).await;
    let mut bob = open(&channel, &call("2"), OnLeave::Continue).await;
    let (first, second) = (raw_id(&backend.read().await), raw_id(&backend.read().await));
    backend
        .write(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{first},"progress":1}}}}"#
        ))
        .await;
    backend.write(&format!(r#"{{"jsonrpc":"2.0","id":{first},"result":{{}}}}"#)).await;
    backend.write(&format!(r#"{{"jsonrpc":"2.0","id":{second},"result":{{}}}}"#)).await;
    backend.settle().await;
    let Event::Notice(progress) = ann.next().await.unwrap() else { panic!("progress comes first") };
    assert!(progress.bytes().ends_with(br#""progressToken":1,"progress":1}}"#));
    answer(&mut ann).await;
    answer(&mut bob).await;
    assert!(owner.notices.lock().is_empty());
}

#[tokio::test]
async fn a_request_of_the_backend_goes_to_the_only_caller_and_never_to_a_guess() {
    const SAMPLING: &str = r#"{"jsonrpc":"2.0","id":"s","method":"sampling/createMessage","params":{}}"#;
    let (channel, mut backend, owner) = start(Era::Legacy);
    let mut ann = open(&channel, &call("1"), OnLeave::Continue).await;
    backend.write(SAMPLING).await;
    assert!(matches!(ann.next().await.unwrap(), Event::Request(_)));
    let _bob = open(&channel, &call("2"), OnLeave::Continue).await;
    backend.write(SAMPLING).await;
    backend.settle().await;
    assert_eq!(*owner.requests.lock(), [Method::CreateMessage]);
}

#[tokio::test]
async fn a_modern_backend_may_send_no_requests() {
    let (channel, mut backend, owner) = start(Era::Modern);
    let _call = open(&channel, &call("1"), OnLeave::Cancel).await;
    backend.read().await;
    backend.write(r#"{"jsonrpc":"2.0","id":"s","method":"roots/list"}"#).await;
    let refusal = backend.read().await;
    assert_eq!(refusal.kind(), Kind::Error);
    assert!(owner.requests.lock().is_empty());
}

#[tokio::test]
async fn a_lost_backend_answers_every_call_with_a_typed_error() {
    let (channel, mut backend, _) = start(Era::Modern);
    let mut ann = open(&channel, &call("1"), OnLeave::Cancel).await;
    backend.read().await;
    drop(backend);
    let refusal = ann.next().await.unwrap_err();
    assert_eq!(refusal.reason, Reason::BackendLost);
    assert_eq!(refusal.backend.as_deref(), Some("fs"));
    assert!(!channel.is_open());
    let refused = channel.request(&call("2"), OnLeave::Cancel, None).await.err().unwrap();
    assert_eq!(refused.reason, Reason::BackendUnavailable, "nothing was sent, so a retry is safe");
}

#[tokio::test]
async fn leaving_cancels_for_modern_clients_only() {
    let (channel, mut backend, _) = start(Era::Modern);
    let modern = open(&channel, &call("1"), OnLeave::Cancel).await;
    let number = raw_id(&backend.read().await);
    drop(modern);
    let cancelled = backend.read().await;
    assert_eq!(cancelled.method(), Method::Cancelled);
    let params = cancelled.envelope().params.as_ref().unwrap();
    assert_eq!(cancelled.raw(params.members.request_id), Some(number.as_bytes()));

    let legacy = open(&channel, &call("1"), OnLeave::Continue).await;
    backend.read().await;
    drop(legacy);
    backend.settle().await;
}

#[tokio::test]
async fn a_legacy_cancellation_travels_under_the_wire_number() {
    let (channel, mut backend, _) = start(Era::Legacy);
    let _call = open(&channel, &call("\"a\""), OnLeave::Continue).await;
    let number = raw_id(&backend.read().await);
    let cancel = parse(br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#);
    let told = channel.cancellation(&Id::Text("a".into()), &cancel).unwrap();
    channel.tell(told).await.unwrap();
    let told = backend.read().await;
    let params = told.envelope().params.as_ref().unwrap();
    assert_eq!(told.raw(params.members.request_id), Some(number.as_bytes()));
}

#[tokio::test]
async fn garbage_between_messages_loses_nothing_else() {
    let (channel, mut backend, _) = start(Era::Legacy);
    let mut ann = open(&channel, &call("1"), OnLeave::Continue).await;
    let number = raw_id(&backend.read().await);
    backend.write("Server listening on stdio").await;
    backend.writes.send(Err(FramingError::TooLong { limit: 10 })).await.unwrap();
    backend.write(&format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{}}}}"#)).await;
    answer(&mut ann).await;
}

#[tokio::test]
async fn a_slow_caller_loses_notifications_but_never_its_answer() {
    let (channel, mut backend, _) = start(Era::Legacy);
    let mut ann = open(&channel, &call("1"), OnLeave::Continue).await;
    let number = raw_id(&backend.read().await);
    for step in 0..NOTICES * 2 {
        backend
            .write(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{number},"progress":{step}}}}}"#
            ))
            .await;
    }
    backend.write(&format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{}}}}"#)).await;
    backend.settle().await;
    let mut notices = 0;
    loop {
        match ann.next().await.unwrap() {
            Event::Notice(_) => notices += 1,
            Event::Answer(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(notices, NOTICES);
}

#[tokio::test]
async fn a_log_message_of_a_shared_backend_reaches_no_client() {
    let (channel, mut backend, owner) = start(Era::Modern);
    let mut only = open(&channel, &call("1"), OnLeave::Cancel).await;
    let number = raw_id(&backend.read().await);
    backend
        .write(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#)
        .await;
    backend.write(&format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{}}}}"#)).await;
    answer(&mut only).await;
    assert_eq!(*owner.notices.lock(), [Method::Message]);
}

#[tokio::test]
async fn what_a_backend_asks_during_the_gateways_own_request_goes_to_the_owner() {
    let (channel, mut backend, owner) = start(Era::Legacy);
    let own = channel.request_own(&call("1")).await.unwrap();
    let number = raw_id(&backend.read().await);
    backend.write(r#"{"jsonrpc":"2.0","id":"r","method":"roots/list"}"#).await;
    backend.settle().await;
    assert_eq!(*owner.requests.lock(), [Method::RootsList]);
    backend.write(&format!(r#"{{"jsonrpc":"2.0","id":{number},"result":{{}}}}"#)).await;
    let Answer::Stream(mut messages) = own else { panic!("a channel answers with messages") };
    answer(&mut messages).await;
}

#[tokio::test]
async fn a_channel_that_nobody_holds_ends_its_wire() {
    let (channel, mut backend, _) = start(Era::Legacy);
    drop(channel);
    assert!(backend.reads.recv().await.is_none(), "the child sees the end of its input");
}

#[tokio::test]
async fn a_question_among_several_calls_reaches_one_that_is_still_read() {
    let (channel, mut backend, owner) = start(Era::Legacy);
    owner.deaf.store(true, Ordering::Relaxed);
    let mut ann = open(&channel, &call("1"), OnLeave::Continue).await;
    let bob = open(&channel, &call("2"), OnLeave::Continue).await;
    backend.read().await;
    backend.read().await;
    backend.write(r#"{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{}}"#).await;
    backend.settle().await;
    // It was given to the latest call, whose client leaves without having read it.
    drop(bob);
    let question = ann.next().await.unwrap();
    assert!(matches!(&question, Event::Elsewhere(frame) if frame.raw_id() == Some(b"9")), "{question:?}");
    // With nobody left the backend is told.
    backend.write(r#"{"jsonrpc":"2.0","id":10,"method":"sampling/createMessage","params":{}}"#).await;
    backend.settle().await;
    drop(ann);
    assert_eq!(backend.read().await.kind(), Kind::Error);
}
