//! One message: its original bytes and what was read of them. Changes when messages are held differently.

use std::borrow::Cow;

use bytes::Bytes;

use crate::envelope::{self, Envelope, Kind, ReadError, ShapeError};
use crate::error::{code, error_response};
use crate::id::Id;
use crate::limits::Limits;
use crate::method::{Method, Target};
use crate::scan::{ScanError, Scanner, Span, decode_string};
use crate::splice::Edits;

/// A JSON-RPC message. The bytes are never re-encoded: what need not change is forwarded as it came.
#[derive(Debug, Clone)]
pub struct Frame {
    bytes: Bytes,
    envelope: Envelope,
}

/// What a body holds.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "taken apart at once; batches are the rare case")]
pub enum Body {
    /// One message.
    Single(Frame),
    /// A batch (2025-03-26 only); each element is read on its own.
    Batch(Vec<Result<Frame, FrameError>>),
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not acceptable JSON.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// JSON, but no JSON-RPC message.
    #[error("{message}")]
    Shape {
        /// JSON-RPC error code.
        code: i64,
        /// What is wrong.
        message: &'static str,
        /// The raw id when it could be read.
        id: Option<Bytes>,
    },
    /// A batch where none is allowed, or an empty one, or one that is too long.
    #[error("{0}")]
    Batch(&'static str),
}

impl FrameError {
    /// The JSON-RPC error code that tells the sender.
    pub fn code(&self) -> i64 {
        match self {
            Self::Scan(
                ScanError::DuplicateKey { .. } | ScanError::Depth { .. } | ScanError::TooLarge { .. },
            )
            | Self::Batch(_) => code::INVALID_REQUEST,
            Self::Scan(_) => code::PARSE,
            Self::Shape { code, .. } => *code,
        }
    }

    /// The error response that tells the sender.
    pub fn response(&self) -> Bytes {
        let id = match self {
            Self::Shape { id, .. } => id.as_deref(),
            _ => None,
        };
        error_response(id, self.code(), &self.to_string(), None)
    }
}

/// Messages in one batch.
const MAX_BATCH: usize = 100;

impl Frame {
    /// Reads exactly one message.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Self, FrameError> {
        match Body::parse(bytes, limits)? {
            Body::Single(frame) => Ok(frame),
            Body::Batch(_) => Err(FrameError::Batch("a batch is not allowed here; send one message")),
        }
    }

    /// The original bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What was read of them.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Kind of message.
    pub fn kind(&self) -> Kind {
        self.envelope.kind
    }

    /// Whether it answers a request.
    pub fn is_response(&self) -> bool {
        matches!(self.envelope.kind, Kind::Result | Kind::Error)
    }

    /// The method, `Other` when no revision defines it.
    pub fn method(&self) -> Method {
        self.envelope.method
    }

    /// The method as spelled.
    pub fn method_name(&self) -> Cow<'_, str> {
        self.text(self.envelope.method_name).unwrap_or_default()
    }

    /// The id by value.
    pub fn id(&self) -> Option<Id> {
        self.raw(self.envelope.id).and_then(Id::from_raw)
    }

    /// The id as spelled.
    pub fn raw_id(&self) -> Option<&[u8]> {
        self.raw(self.envelope.id)
    }

    /// The tool, prompt, URI or task that a request is about, decoded.
    pub fn target(&self) -> Option<Cow<'_, str>> {
        self.text(self.target_span())
    }

    /// Where [`Frame::target`] stands.
    pub fn target_span(&self) -> Option<Span> {
        let members = &self.envelope.params.as_ref()?.members;
        match self.method().target() {
            Target::Name => members.name,
            Target::Uri => members.uri,
            Target::TaskId => members.task_id,
            Target::Ref | Target::None => None,
        }
    }

    /// Bytes of a range.
    pub fn raw(&self, span: Option<Span>) -> Option<&[u8]> {
        span.map(|span| span.of(&self.bytes))
    }

    /// Bytes of a range, sharing the message's buffer.
    pub fn slice(&self, span: Span) -> Bytes {
        self.bytes.slice(span.start()..span.end())
    }

    /// A range decoded as a JSON string; `None` when it is absent or no string.
    pub fn text(&self, span: Option<Span>) -> Option<Cow<'_, str>> {
        decode_string(self.raw(span)?)
    }

    /// The progress token that a request carries, as spelled.
    pub fn progress_token(&self) -> Option<Span> {
        self.envelope.params.as_ref()?.meta.progress_token
    }

    /// The message with `edits` made.
    pub fn edited(&self, edits: Edits) -> Bytes {
        edits.apply(&self.bytes)
    }
}

impl Body {
    /// Reads one message or a batch.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Self, FrameError> {
        let mut scanner = Scanner::new(&bytes, limits)?;
        if scanner.peek() == Some(b'[') {
            return Self::parse_batch(&bytes, limits);
        }
        if scanner.peek() != Some(b'{') {
            // Valid JSON of another kind is no message; anything else is no JSON.
            scanner.value()?;
            scanner.end()?;
            return Err(FrameError::Shape {
                code: code::INVALID_REQUEST,
                message: "a message is a JSON object",
                id: None,
            });
        }
        let envelope = match envelope::read(&bytes, &mut scanner) {
            Ok(envelope) => envelope,
            Err(ReadError::Scan(error)) => return Err(error.into()),
            Err(ReadError::Shape(ShapeError { code, message, id })) => {
                scanner.end()?;
                let id = id.map(|id| bytes.slice(id.start()..id.end()));
                return Err(FrameError::Shape { code, message, id });
            }
        };
        scanner.end()?;
        Ok(Self::Single(Frame { bytes, envelope }))
    }

    fn parse_batch(bytes: &Bytes, limits: &Limits) -> Result<Self, FrameError> {
        let mut scanner = Scanner::new(bytes, limits)?;
        let mut elements = Vec::new();
        scanner.array(|scanner| {
            elements.push(scanner.value()?);
            Ok(())
        })?;
        scanner.end()?;
        if elements.is_empty() {
            return Err(FrameError::Batch("an empty batch holds no message"));
        }
        if elements.len() > MAX_BATCH {
            return Err(FrameError::Batch("a batch holds at most 100 messages"));
        }
        let read = |span: Span| Frame::parse(bytes.slice(span.start()..span.end()), limits);
        Ok(Self::Batch(elements.into_iter().map(read).collect()))
    }
}

#[cfg(test)]
mod tests;
