//! PEM documents (RFC 7468): a file, or content that came some other way. Changes when they come from somewhere else.

use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use super::TlsError;

/// Certificates and keys are a few kilobytes, bundles of authorities some hundred; a larger file is a mistake.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// A document, which may be a private key.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// A file, read whenever it is needed.
    File(PathBuf),
    /// The content, and where it is from.
    Content {
        /// For messages.
        origin: String,
        /// The text.
        text: Arc<str>,
    },
}

impl Pem {
    /// Where it is from, for messages.
    pub(super) fn origin(&self) -> PathBuf {
        match self {
            Self::File(file) => file.clone(),
            Self::Content { origin, .. } => PathBuf::from(origin),
        }
    }

    pub(super) fn read(&self, what: &'static str) -> Result<Cow<'_, [u8]>, TlsError> {
        let file = match self {
            Self::File(file) => file,
            Self::Content { text, .. } => return Ok(Cow::Borrowed(text.as_bytes())),
        };
        let failed = |source| TlsError::Read { what, file: file.clone(), source };
        let metadata = fs::metadata(file).map_err(failed)?;
        if !metadata.is_file() {
            return Err(self.wrong(what, "this is not a file".to_owned()));
        }
        if metadata.len() > MAX_FILE {
            return Err(self.wrong(what, format!("{} bytes are too many for a PEM file", metadata.len())));
        }
        fs::read(file).map(Cow::Owned).map_err(failed)
    }

    pub(super) fn wrong(&self, what: &'static str, problem: String) -> TlsError {
        TlsError::Content { what, file: self.origin(), problem }
    }
}

/// Without the content.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.origin().display())
    }
}

impl From<PathBuf> for Pem {
    fn from(file: PathBuf) -> Self {
        Self::File(file)
    }
}
