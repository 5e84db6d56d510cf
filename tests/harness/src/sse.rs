//! A small reader of server-sent events for tests, independent of the gateway's own. Changes with the WHATWG format.

/// One event: its fields as sent, data lines joined by newlines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// `event:`, if present.
    pub name: Option<String>,
    /// `id:`, if present.
    pub id: Option<String>,
    /// `retry:`, if present, in milliseconds.
    pub retry: Option<u64>,
    /// All `data:` lines, if there was at least one.
    pub data: Option<String>,
}

/// Collects bytes and gives events.
#[derive(Debug, Default)]
pub struct Parser {
    buffer: Vec<u8>,
    event: Event,
    comments: usize,
}

impl Parser {
    /// Adds bytes and returns the events they completed. Lines may end in LF, CRLF; a lone CR is not used by any peer.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.buffer.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            self.line(line.trim_end_matches(['\r', '\n']), &mut events);
        }
        events
    }

    /// How many comment lines (keep-alives) came so far.
    pub fn comments(&self) -> usize {
        self.comments
    }

    fn line(&mut self, line: &str, events: &mut Vec<Event>) {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if event != Event::default() {
                events.push(event);
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => self.comments += 1,
            "event" => self.event.name = Some(value.to_owned()),
            "id" => self.event.id = Some(value.to_owned()),
            "retry" => self.event.retry = value.parse().ok(),
            "data" => match &mut self.event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.event.data = Some(value.to_owned()),
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let stream = ": hello\n\nid: 7\nretry: 250\ndata:\n\nevent: message\r\ndata: {\"a\":\ndata: 1}\r\n\r\ndata: cut off";
        let expected = vec![
            Event { id: Some("7".into()), retry: Some(250), data: Some(String::new()), ..Event::default() },
            Event { name: Some("message".into()), data: Some("{\"a\":\n1}".into()), ..Event::default() },
        ];
        for step in 1..stream.len() {
            let mut parser = Parser::default();
            let events: Vec<_> =
                stream.as_bytes().chunks(step).flat_map(|piece| parser.push(piece)).collect();
            assert_eq!(events, expected, "cut every {step} bytes");
            assert_eq!(parser.comments(), 1);
        }
    }
}
