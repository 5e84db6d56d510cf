//! Frames of the original's binary protocol on TCP: header, type and payload. Changes when the header does.
//!
//! All integers are big-endian.
//!
//! ```text
//! dialect G   magic "MCPB"  version  type  length            payload
//!             4             2        2     4                 0 to 10 MiB
//! dialect R   magic "MCP\0" version  type  reserved  length  payload
//!             4             2        2     4         4       0 to 10 MiB
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Largest payload that peers of the original accept, in bytes.
pub const MAX_PAYLOAD: usize = 10 * 1024 * 1024;

/// The only version there is.
const VERSION: u16 = 1;

/// Payloads shorter than this are copied out of the input; longer ones share its memory.
const SHARE_FROM: usize = 1024;

/// One of the two layouts. A connection keeps the one it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The gateway's own, and the published one.
    G,
    /// The one that the original's client speaks.
    R,
}

impl Dialect {
    /// Recognizes the first four bytes of a connection, or of any frame.
    pub fn detect(magic: [u8; 4]) -> Option<Self> {
        [Self::G, Self::R].into_iter().find(|dialect| *dialect.magic() == magic)
    }

    fn magic(self) -> &'static [u8; 4] {
        match self {
            Self::G => b"MCPB",
            Self::R => b"MCP\0",
        }
    }

    fn header_len(self) -> usize {
        match self {
            Self::G => 12,
            Self::R => 16,
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $label:literal,)*) => {
        /// What a frame is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum FrameKind {
            $($(#[$doc])* $variant,)*
        }

        impl FrameKind {
            /// Every kind, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The kind of a number on the wire.
            pub fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The number on the wire.
            pub fn number(self) -> u16 {
                match self {
                    $(Self::$variant => $number,)*
                }
            }

            /// Its name in metrics.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }
    };
}

kinds! {
    /// A JSON-RPC request or notification.
    Request = 1 "request",
    /// A JSON-RPC response.
    Response = 2 "response",
    /// A JSON object about the connection itself.
    Control = 3 "control",
    /// A sign of life.
    HealthCheck = 4 "health_check",
    /// Text, not JSON.
    Error = 5 "error",
    /// The client's versions.
    VersionNegotiation = 6 "version_negotiation",
    /// The version agreed on.
    VersionAck = 7 "version_ack",
}

/// One frame, without its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryFrame {
    /// What it is.
    pub kind: FrameKind,
    /// What it holds.
    pub payload: Bytes,
}

impl BinaryFrame {
    /// A frame of `kind` around `payload`.
    pub fn new(kind: FrameKind, payload: impl Into<Bytes>) -> Self {
        Self { kind, payload: payload.into() }
    }

    /// Its length in bytes with the header.
    pub fn wire_len(&self, dialect: Dialect) -> usize {
        dialect.header_len() + self.payload.len()
    }
}

/// Why a stream is not this protocol. Nothing can be read behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BinaryError {
    /// Neither dialect, or not the one that the connection began with.
    #[error("bad magic 0x{0:08X}")]
    Magic(u32),
    /// A version that does not exist. Dialect R does not look at it.
    #[error("unsupported version {0}")]
    Version(u16),
    /// A type that does not exist.
    #[error("unknown message type {0}")]
    Kind(u16),
    /// A payload that is longer than allowed.
    #[error("payload of {length} bytes exceeds the limit of {max} bytes")]
    TooLarge {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        max: usize,
    },
}

/// Incremental reader of frames.
///
/// Memory: what was pushed and not read yet, at most one frame of the largest size and the chunk pushed last when
/// [`Decoder::next`] is called until it gives `Ok(None)` before each push. Room is taken for bytes that came, never for
/// bytes that a header promises.
#[derive(Debug)]
pub struct Decoder {
    max_payload: usize,
    dialect: Option<Dialect>,
    input: BytesMut,
    failed: Option<BinaryError>,
}

impl Decoder {
    /// A reader that learns the dialect from the first frame.
    pub fn new(max_payload: usize) -> Self {
        Self { max_payload, dialect: None, input: BytesMut::new(), failed: None }
    }

    /// A reader of one dialect.
    pub fn of(dialect: Dialect, max_payload: usize) -> Self {
        Self { dialect: Some(dialect), ..Self::new(max_payload) }
    }

    /// The dialect, once its magic was seen.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// Whether the input ends inside a frame.
    pub fn is_mid_frame(&self) -> bool {
        !self.input.is_empty()
    }

    /// Adds input.
    pub fn push(&mut self, input: &[u8]) {
        if self.failed.is_none() {
            self.input.put_slice(input);
        }
    }

    /// The next frame; `Ok(None)` when more input is needed. An error repeats.
    #[expect(clippy::should_implement_trait, reason = "`None` is not the end: more input may follow")]
    pub fn next(&mut self) -> Result<Option<BinaryFrame>, BinaryError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let read = self.read();
        if let Err(error) = read {
            self.failed = Some(error);
            self.input = BytesMut::new();
        }
        read
    }

    fn read(&mut self) -> Result<Option<BinaryFrame>, BinaryError> {
        let Some(magic) = self.input.first_chunk::<4>() else { return Ok(None) };
        let dialect =
            Dialect::detect(*magic).filter(|found| self.dialect.is_none_or(|fixed| fixed == *found));
        let dialect = dialect.ok_or(BinaryError::Magic(u32::from_be_bytes(*magic)))?;
        self.dialect = Some(dialect);
        let Some(mut header) = self.input.get(4..dialect.header_len()) else { return Ok(None) };
        let (version, number) = (header.get_u16(), header.get_u16());
        if dialect == Dialect::R {
            header.advance(4);
        }
        let length = header.get_u32() as usize;
        if version != VERSION && dialect == Dialect::G {
            return Err(BinaryError::Version(version));
        }
        let kind = FrameKind::from_number(number).ok_or(BinaryError::Kind(number))?;
        if length > self.max_payload {
            return Err(BinaryError::TooLarge { length, max: self.max_payload });
        }
        if self.input.len() - dialect.header_len() < length {
            return Ok(None);
        }
        self.input.advance(dialect.header_len());
        let payload = self.input.split_to(length);
        let payload = if length < SHARE_FROM { Bytes::copy_from_slice(&payload) } else { payload.freeze() };
        if self.input.is_empty() {
            // An idle connection holds nothing.
            self.input = BytesMut::new();
        }
        Ok(Some(BinaryFrame { kind, payload }))
    }
}

/// Appends `frame` to `out`. Refuses what the peer could not accept; `out` is then as before.
pub fn encode(out: &mut BytesMut, dialect: Dialect, frame: &BinaryFrame) -> Result<(), BinaryError> {
    let length = frame.payload.len();
    let too_large = BinaryError::TooLarge { length, max: MAX_PAYLOAD };
    let wire_length = u32::try_from(length).ok().filter(|_| length <= MAX_PAYLOAD).ok_or(too_large)?;
    out.reserve(dialect.header_len() + length);
    out.put_slice(dialect.magic());
    out.put_u16(VERSION);
    out.put_u16(frame.kind.number());
    if dialect == Dialect::R {
        out.put_u32(0);
    }
    out.put_u32(wire_length);
    out.put_slice(&frame.payload);
    Ok(())
}

#[cfg(test)]
mod tests;
