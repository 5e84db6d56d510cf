//! What a frame of type 1 holds. Changes when payloads are wrapped or bounded differently.

use bytes::Bytes;

use crate::envelope::Kind;
use crate::frame::{Frame, FrameError};
use crate::limits::Limits;
use crate::original::binary::Dialect;
use crate::original::envelope::{Defect, Envelope, EnvelopeError, Form, read, read_auth_wrapper};
use crate::original::input::{self, Namespace, Token, params_namespace};
use crate::scan::ScanError;

/// A payload after reading.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "taken apart at once")]
pub(super) enum Judged {
    /// A message and what came with it.
    Message { frame: Frame, beside: Beside },
    /// JSON that is to be answered with an error.
    Invalid { id: Option<Bytes>, text: String },
    /// A notification that breaks a limit: nobody can be told.
    Ignored,
    /// No JSON.
    Undecodable,
}

/// What a client says beside its message.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The namespace that it names.
    pub(super) named: Option<Namespace>,
    /// The token of this message.
    pub(super) token: Option<Token>,
}

impl Judged {
    /// Whom an answer is for.
    pub(super) fn id(&self) -> Option<Bytes> {
        match self {
            Self::Message { frame, .. } => frame.raw_id().map(Bytes::copy_from_slice),
            Self::Invalid { id, .. } => id.clone(),
            Self::Ignored | Self::Undecodable => None,
        }
    }
}

/// Reads the payload of a frame of type 1.
pub(super) fn judge(dialect: Dialect, payload: &Bytes, limits: &Limits) -> Judged {
    let form = match dialect {
        Dialect::G => read_auth_wrapper(payload, limits),
        Dialect::R => read(payload, limits),
    };
    let (message, envelope) = match form {
        Ok(Form::Bare(message)) => (message, None),
        Ok(Form::Wrapped(envelope)) => (envelope.payload.clone(), Some(envelope)),
        Err(error) => return unreadable(error),
    };
    let frame = match Frame::parse(message, limits) {
        Ok(frame) => frame,
        Err(error) => return no_message(&error, envelope.as_ref()),
    };
    if let Err(error) = input::check(&frame) {
        if frame.kind() != Kind::Request {
            return Judged::Ignored;
        }
        return Judged::Invalid { id: frame.raw_id().map(Bytes::copy_from_slice), text: error.to_string() };
    }
    let (named, token) = envelope.map_or((None, None), |envelope| (envelope.namespace, envelope.token));
    let named = match dialect {
        Dialect::G => params_namespace(&frame),
        Dialect::R => named,
    };
    Judged::Message { frame, beside: Beside { named, token } }
}

fn unreadable(error: EnvelopeError) -> Judged {
    match error.defect {
        Defect::Scan(ScanError::Syntax { .. } | ScanError::Utf8 { .. } | ScanError::TooLarge { .. }) => {
            Judged::Undecodable
        }
        // These say what is wrong themselves, in the original's words.
        Defect::Input(input) => Judged::Invalid { id: error.id, text: input.to_string() },
        defect => Judged::Invalid { id: error.id, text: format!("Invalid request: {defect}") },
    }
}

fn no_message(error: &FrameError, envelope: Option<&Envelope>) -> Judged {
    let own = match error {
        FrameError::Shape { id, .. } => id.clone(),
        _ => None,
    };
    let id = own.or_else(|| envelope.and_then(|envelope| envelope.id.clone()));
    match error {
        FrameError::Scan(ScanError::Syntax { .. } | ScanError::Utf8 { .. }) => Judged::Undecodable,
        _ => Judged::Invalid { id, text: format!("Invalid request: {error}") },
    }
}
