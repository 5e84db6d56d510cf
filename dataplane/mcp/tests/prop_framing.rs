//! Newline framing: chunking never changes the messages, a naive reader agrees, written messages read back.

use bridge_mcp::framing::{Decoder, FramingError, encode};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

fn decode(limit: usize, chunks: &[&[u8]]) -> Vec<Result<Bytes, FramingError>> {
    let mut decoder = Decoder::new(limit);
    let mut all = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        while let Some(item) = decoder.next().transpose() {
            all.push(item);
        }
    }
    all
}

fn naive(limit: usize, input: &[u8]) -> Vec<Result<Bytes, FramingError>> {
    let mut lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    lines.pop();
    let mut all = Vec::new();
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > limit {
            all.push(Err(FramingError::TooLong { limit }));
        } else if !line.iter().all(u8::is_ascii_whitespace) {
            all.push(Ok(Bytes::copy_from_slice(line)));
        }
    }
    all
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => Just(b'\n'), 2 => Just(b'\r'), 1 => Just(b' '), 10 => any::<u8>()];
    prop::collection::vec(byte, 0..400).prop_map(|mut bytes| {
        bytes.push(b'\n');
        bytes
    })
}

proptest! {
    #[test]
    fn any_chunking_gives_the_messages_of_a_naive_reader(
        input in input(), limit in 0usize..40, places in prop::collection::vec(any::<usize>(), 0..20)
    ) {
        let mut places: Vec<usize> = places.iter().map(|place| place % input.len()).collect();
        places.extend([0, input.len()]);
        places.sort_unstable();
        let chunks: Vec<&[u8]> = places.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
        let expected = naive(limit, &input);
        prop_assert_eq!(&decode(limit, &chunks), &expected);
        prop_assert_eq!(&decode(limit, &[&input]), &expected);
        let single: Vec<&[u8]> = input.chunks(1).collect();
        prop_assert_eq!(&decode(limit, &single), &expected);
    }

    #[test]
    fn written_messages_read_back(messages in prop::collection::vec("[{}\\[\\]a-z\"\r\n ]{0,2000}x", 0..6)) {
        let mut wire = BytesMut::new();
        for message in &messages {
            encode(&mut wire, message.as_bytes());
        }
        let expected: Vec<_> =
            messages.iter().map(|message| Ok(Bytes::from(message.replace(['\r', '\n'], " ")))).collect();
        prop_assert_eq!(decode(1 << 20, &[&wire]), expected);
    }
}
