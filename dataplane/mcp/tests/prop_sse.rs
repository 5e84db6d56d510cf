//! Event streams: chunking never changes the events, a naive reader agrees, written events read back, memory is bounded.

use bridge_mcp::sse::{Decoder, Event, SseError, encode, encode_comment};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

const LIMIT: usize = 4096;

fn drain(decoder: &mut Decoder, events: &mut Vec<Event>) -> Result<(), SseError> {
    while let Some(event) = decoder.next()? {
        events.push(event);
    }
    Ok(())
}

fn decode(limit: usize, chunks: &[&[u8]]) -> (Vec<Event>, Result<(), SseError>) {
    let mut decoder = Decoder::new(limit);
    let mut events = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        if let Err(error) = drain(&mut decoder, &mut events) {
            return (events, Err(error));
        }
    }
    (events, Ok(()))
}

/// Cuts `input` at the given places (taken modulo its length).
fn cut<'a>(input: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = places.iter().map(|place| place % (input.len() + 1)).collect();
    places.extend([0, input.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect()
}

/// The standard's algorithm on a whole stream, written for reading, not for speed.
fn naive(input: &str) -> Vec<Event> {
    let input = input.strip_prefix('\u{feff}').unwrap_or(input).replace("\r\n", "\n").replace('\r', "\n");
    let mut events = Vec::new();
    let (mut id, mut name, mut data, mut retry_ms) = (None, None, Vec::new(), None);
    let mut lines: Vec<&str> = input.split('\n').collect();
    lines.pop();
    for line in lines {
        if line.is_empty() {
            if id.is_some() || !data.is_empty() || retry_ms.is_some() {
                events.push(Event {
                    id: id.take(),
                    name: name.take(),
                    data: Bytes::from(data.join("\n")),
                    retry_ms,
                });
            }
            (id, name, data, retry_ms) = (None, None, Vec::new(), None);
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => data.push(value),
            "event" => name = (!value.is_empty()).then(|| value.into()),
            "id" if !value.contains('\0') => id = Some(value.into()),
            "retry" if value.chars().all(|digit| digit.is_ascii_digit()) => {
                retry_ms = value.parse().ok().or(retry_ms);
            }
            _ => {}
        }
    }
    events
}

fn stream() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "(data|id|event|retry|dat|)(:| :|: |)[a-z{}:\\x00 0-9é]{0,8}",
        2 => "data: [x]{0,1500}",
        3 => "retry: ?[0-9]{0,21}",
    ];
    let end = prop_oneof!["\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n", "\n\r", ""];
    (prop::bool::ANY, prop::collection::vec((piece, end), 0..12)).prop_map(|(bom, lines)| {
        let text: String = lines.into_iter().map(|(piece, end)| piece + &end).collect();
        if bom { format!("\u{feff}{text}") } else { text }
    })
}

proptest! {
    #[test]
    fn any_chunking_gives_the_events_of_a_naive_reader(
        input in stream(), places in prop::collection::vec(any::<usize>(), 0..20)
    ) {
        let expected = naive(&input);
        let (whole, result) = decode(1 << 20, &[input.as_bytes()]);
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(&whole, &expected);
        prop_assert_eq!(&decode(1 << 20, &cut(input.as_bytes(), &places)).0, &expected);
        let single: Vec<&[u8]> = input.as_bytes().chunks(1).collect();
        prop_assert_eq!(&decode(1 << 20, &single).0, &expected);
    }

    #[test]
    fn any_chunking_meets_the_limit_at_the_same_event(
        input in stream(), limit in 1usize..60, places in prop::collection::vec(any::<usize>(), 0..20)
    ) {
        let whole = decode(limit, &[input.as_bytes()]);
        prop_assert_eq!(&decode(limit, &cut(input.as_bytes(), &places)), &whole);
        prop_assert!(whole.0.iter().all(|event| event.data.len() <= limit));
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic(
        input in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), any::<u8>()], 0..200),
        places in prop::collection::vec(any::<usize>(), 0..20), limit in 0usize..100,
    ) {
        prop_assert_eq!(decode(limit, &cut(&input, &places)), decode(limit, &[&input]));
    }

    #[test]
    fn written_events_read_back(
        events in prop::collection::vec((
            prop::option::of("[a-z0-9:é -]{0,12}"), prop::option::of("[a-z/: \\x00]{1,12}"), prop::option::of(any::<u64>()),
            prop::collection::vec(any::<u8>(), 0..300), prop::bool::ANY,
        ), 0..8),
        places in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut wire = BytesMut::new();
        let mut expected = Vec::new();
        for (id, name, retry_ms, data, comment) in events {
            encode(&mut wire, id.as_deref(), name.as_deref(), retry_ms, &data);
            if comment {
                encode_comment(&mut wire, "keep-alive");
            }
            let mut lines = Vec::new();
            let mut bytes = data.into_iter().peekable();
            while let Some(byte) = bytes.next() {
                if byte == b'\r' {
                    bytes.next_if_eq(&b'\n');
                }
                lines.push(if byte == b'\r' { b'\n' } else { byte });
            }
            expected.push(Event { id: id.map(Into::into), name: name.map(Into::into), data: lines.into(), retry_ms });
        }
        let (events, result) = decode(LIMIT, &cut(&wire, &places));
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(events, expected);
    }
}
