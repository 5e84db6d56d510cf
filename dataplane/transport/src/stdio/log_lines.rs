//! A child's standard error as log lines: bounded in length and rate, cleaned, and without the configured secrets.
//! Changes when the treatment of a server's log changes.

use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Longer lines are cut; the rest of the line is dropped.
const MAX_LINE: usize = 4096;
/// Lines in a row without waiting.
const BURST: u32 = 200;
/// Lines per second in the long run.
const PER_SECOND: u32 = 50;
/// Shorter configured values are too common in ordinary text to be replaced, and too short to be good secrets.
const SHORTEST_SECRET: usize = 8;

/// Logs `stream` line by line until its end.
pub(super) async fn forward(stream: impl AsyncRead + Unpin, backend: String, secrets: Vec<String>) {
    let mut stream = stream;
    let secrets: Vec<String> = secrets.into_iter().filter(|secret| secret.len() >= SHORTEST_SECRET).collect();
    let mut lines = Lines::default();
    let mut rate = Rate::new(Instant::now());
    let mut chunk = [0; 1024];
    loop {
        let length = match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        for line in lines.push(chunk.get(..length).unwrap_or_default()) {
            log(&backend, &line, &secrets, &mut rate);
        }
    }
    if let Some(line) = lines.finish() {
        log(&backend, &line, &secrets, &mut rate);
    }
    note_dropped(&backend, rate.dropped);
}

fn log(backend: &str, line: &[u8], secrets: &[String], rate: &mut Rate) {
    let text = clean(line, secrets);
    if text.is_empty() {
        return;
    }
    if rate.allows(Instant::now()) {
        note_dropped(backend, std::mem::take(&mut rate.dropped));
        tracing::info!(backend, stream = "stderr", "{text}");
    } else {
        rate.dropped += 1;
    }
}

fn note_dropped(backend: &str, dropped: u64) {
    if dropped > 0 {
        tracing::warn!(
            backend,
            dropped,
            "this server writes more than {PER_SECOND} lines per second to standard error; the rest was dropped"
        );
    }
}

/// Printable text: secrets replaced, terminal colours and other control characters removed.
fn clean(line: &[u8], secrets: &[String]) -> String {
    let mut text = String::from_utf8_lossy(line).into_owned();
    for secret in secrets {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), "[redacted]");
        }
    }
    let mut cleaned = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' && characters.next_if_eq(&'[').is_some() {
            // A control sequence ends with its first character in this range (ECMA-48 section 5.4).
            characters.by_ref().find(|character| ('\u{40}'..='\u{7e}').contains(character));
        } else if !character.is_control() {
            cleaned.push(character);
        } else if character == '\t' {
            cleaned.push(' ');
        }
    }
    cleaned.truncate(cleaned.trim_end().len());
    cleaned
}

/// Cuts a byte stream into lines of at most [`MAX_LINE`] bytes.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
}

impl Lines {
    fn push(&mut self, input: &[u8]) -> Vec<Vec<u8>> {
        let mut complete = Vec::new();
        let mut parts = input.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let room = MAX_LINE.saturating_sub(self.line.len()).min(part.len());
            self.line.extend_from_slice(part.get(..room).unwrap_or_default());
            if parts.peek().is_some() {
                complete.push(std::mem::take(&mut self.line));
            }
        }
        complete
    }

    fn finish(self) -> Option<Vec<u8>> {
        (!self.line.is_empty()).then_some(self.line)
    }
}

/// A bucket of [`BURST`] lines that fills at [`PER_SECOND`].
struct Rate {
    lines: f64,
    at: Instant,
    dropped: u64,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self { lines: f64::from(BURST), at: now, dropped: 0 }
    }

    fn allows(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.lines = (self.lines + elapsed * f64::from(PER_SECOND)).min(f64::from(BURST));
        let allowed = self.lines >= 1.0;
        if allowed {
            self.lines -= 1.0;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_are_joined_over_chunks_and_cut_at_the_limit() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"one\ntw"), [b"one".to_vec()]);
        assert_eq!(lines.push(b"o\n\nthree"), [b"two".to_vec(), b"".to_vec()]);
        assert_eq!(lines.push(&[b'x'; 10_000]), Vec::<Vec<u8>>::new());
        let cut = lines.push(b"yyy\nnext").remove(0);
        assert_eq!(cut.len(), MAX_LINE);
        assert!(cut.starts_with(b"threexxx") && cut.ends_with(b"x"));
        assert_eq!(lines.finish(), Some(b"next".to_vec()));
    }

    #[test]
    fn text_is_clean() {
        let secrets = ["s3cr3t-token".to_owned()];
        assert_eq!(clean(b"\x1b[1;31merror\x1b[0m:\tbad\x07 \r", &secrets), "error: bad");
        assert_eq!(clean(b"key=s3cr3t-token.", &secrets), "key=[redacted].");
        assert_eq!(clean(b"caf\xc3\xa9 \xff", &secrets), "caf\u{e9} \u{fffd}");
        assert_eq!(clean(b"cut \x1b[31", &secrets), "cut");
    }

    #[test]
    fn a_flood_is_held_to_the_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let allowed = |rate: &mut Rate, now, count| (0..count).filter(|_| rate.allows(now)).count();
        assert_eq!(allowed(&mut rate, start, 1000), 200);
        assert_eq!(allowed(&mut rate, start + Duration::from_secs(1), 1000), 50);
        assert_eq!(allowed(&mut rate, start + Duration::from_hours(1), 1000), 200);
    }
}
