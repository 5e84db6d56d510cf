//! Reading an event stream from a backend. Changes when streams are read differently.

use bridge_mcp::sse::{Decoder, Event, SseError};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

/// The events of one HTTP answer.
pub struct EventStream {
    body: Incoming,
    decoder: Decoder,
}

/// Why a stream broke.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection was lost.
    #[error("event stream lost: {0}")]
    Lost(String),
    /// An event beyond its bounds.
    #[error("event stream refused: {0}")]
    Refused(#[from] SseError),
}

impl EventStream {
    /// Reads `body` with events of at most `max_event` bytes.
    pub fn new(body: Incoming, max_event: usize) -> Self {
        Self { body, decoder: Decoder::new(max_event) }
    }

    /// The next event; `None` at a regular end.
    pub async fn next(&mut self) -> Result<Option<Event>, StreamError> {
        loop {
            if let Some(event) = self.decoder.next()? {
                return Ok(Some(event));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(StreamError::Lost(error.to_string())),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.decoder.push_bytes(data);
                    }
                }
            }
        }
    }
}
