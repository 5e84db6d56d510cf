//! Session ids. Changes when ids get another form.

use std::fmt;

/// 128 random bits in hexadecimal (MCP: globally unique and cryptographically secure, visible ASCII).
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(Box<str>);

impl SessionId {
    /// Draws a new id from the operating system.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(format!("{:032x}", u128::from_be_bytes(bytes)).into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// An id gives access, so logs show only its beginning.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.0.get(..6).unwrap_or_default())
    }
}
