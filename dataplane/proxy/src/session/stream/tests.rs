use super::*;

const BOUNDS: LogBounds = LogBounds { events: 4, bytes: 1000, ended: LogBounds::ENDED };

fn message(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// The next event as its id and what it says.
async fn next(reader: &mut LogReader) -> Option<String> {
    Some(match reader.next().await? {
        StreamEvent::Primer { id } => format!("{id} begins"),
        StreamEvent::Message { id, data } => {
            format!("{} {}", id.unwrap(), String::from_utf8(data.to_vec()).unwrap())
        }
        StreamEvent::Retry(milliseconds) => format!("back in {milliseconds}"),
        other => format!("{other:?}"),
    })
}

#[tokio::test]
async fn a_reader_that_lost_its_connection_gets_exactly_the_rest() {
    let streams = Streams::new(BOUNDS);
    let log = streams.open();
    let mut reader = log.reader(None, true);
    assert_eq!(next(&mut reader).await.unwrap(), "1-0 begins", "the priming event names the start");
    log.append(message("a"));
    assert_eq!(next(&mut reader).await.unwrap(), "1-1 a");
    drop(reader);
    log.append(message("b"));
    log.append(message("c"));
    log.end();
    let (found, after) = streams.find("1-1").unwrap();
    let mut resumed = found.reader(Some(after), false);
    assert_eq!(next(&mut resumed).await.unwrap(), "1-2 b");
    assert_eq!(next(&mut resumed).await.unwrap(), "1-3 c");
    assert!(next(&mut resumed).await.is_none());
}

#[tokio::test]
async fn events_of_one_stream_never_appear_on_another() {
    let streams = Streams::new(BOUNDS);
    let (first, second) = (streams.open(), streams.open());
    first.append(message("1"));
    second.append(message("2"));
    let mut reader = streams.find("2-0").map(|(log, after)| log.reader(Some(after), false)).unwrap();
    assert_eq!(next(&mut reader).await.unwrap(), "2-1 2");
    second.end();
    assert!(next(&mut reader).await.is_none());
}

#[tokio::test]
async fn a_newer_reader_takes_the_stream_over() {
    let streams = Streams::new(BOUNDS);
    let log = streams.standalone();
    let mut old = log.reader(None, false);
    let mut new = log.reader(None, false);
    log.append(message("x"));
    assert!(old.next().await.is_none());
    assert!(new.next().await.is_some());
}

#[tokio::test]
async fn what_nobody_read_waits_for_the_first_reader() {
    let streams = Streams::new(BOUNDS);
    streams.standalone().append(message("early"));
    let mut reader = streams.standalone().reader(None, false);
    assert_eq!(next(&mut reader).await.unwrap(), "0-1 early");
    drop(reader);
    streams.standalone().append(message("late"));
    let mut again = streams.standalone().reader(None, false);
    assert_eq!(next(&mut again).await.unwrap(), "0-2 late");
}

#[tokio::test]
async fn a_pause_tells_when_to_come_back_and_ends_the_reader_only() {
    let log = Streams::new(BOUNDS).open();
    let mut reader = log.reader(None, true);
    reader.next().await;
    log.pause(250);
    assert_eq!(next(&mut reader).await.unwrap(), "back in 250");
    assert!(next(&mut reader).await.is_none());
    log.append(message("answer"));
    log.end();
    assert_eq!(next(&mut log.reader(Some(0), false)).await.unwrap(), "1-1 answer");
}

#[tokio::test]
async fn a_slow_reader_holds_its_call_back_and_a_gone_one_does_not() {
    use std::future::Future as _;
    let log = Streams::new(BOUNDS).open();
    let mut reader = log.reader(None, false);
    for _ in 0..3 {
        log.append(message("x"));
    }
    let mut room = Box::pin(log.room());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(room.as_mut().poll(&mut context).is_pending());
    reader.next().await;
    room.await;
    for _ in 0..3 {
        log.append(message("x"));
    }
    drop(reader);
    log.room().await;
}

#[test]
fn the_oldest_events_go_when_a_bound_is_passed() {
    let log = StreamLog::new(1, BOUNDS);
    for _ in 0..10 {
        log.append(message("x"));
    }
    assert_eq!(log.state.lock().events.len(), 4);
    log.append(Bytes::from(vec![b'y'; 5000]));
    assert_eq!(log.state.lock().events.len(), 1, "the newest stays even when it is larger than the bound");
}

#[test]
fn ended_streams_are_kept_in_a_bounded_number() {
    let streams = Streams::new(BOUNDS);
    let waiting = streams.open();
    for _ in 0..50 {
        streams.open().end();
    }
    assert!(streams.calls.lock().len() <= LogBounds::ENDED + 2);
    assert!(streams.find("1-0").is_some(), "a stream that has not ended is never dropped");
    drop(waiting);
}

#[test]
fn a_foreign_event_id_finds_nothing() {
    let streams = Streams::new(BOUNDS);
    for id in ["", "x", "9-1", "1", "-1", "1-x", "4294967296-0", "0-1"] {
        assert!(streams.find(id).is_none(), "{id}");
    }
}
