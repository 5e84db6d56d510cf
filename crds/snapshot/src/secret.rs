//! Values that must never be printed. Changes when secrets get another source.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A sensitive string. `Debug` shows nothing of it; only [`Secret::expose`] does.
///
/// It does serialize, because the snapshot travels between operator and pod over an authenticated channel and its
/// hash must cover it; nothing else may serialize a snapshot.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a sensitive value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself; call it only where it goes onto the wire or into a child's environment.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_reveals_nothing() {
        let shown = format!("{:?}", Some(Secret::new("hunter2")));
        assert_eq!(shown, "Some([redacted])");
    }
}
