//! Bounds of one message. Changes when the skim gets another bound.

/// What one message may cost to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Size in bytes.
    pub max_bytes: usize,
    /// Nesting of arrays and objects.
    pub max_depth: usize,
    /// Refuse an object, at any depth, that has one key twice. Set for clients, whose messages are judged before they
    /// are forwarded; a backend's answer is judged by nobody but its envelope, which is always checked.
    pub unique_keys: bool,
}

impl Limits {
    /// For messages from clients.
    pub fn client(max_bytes: usize, max_depth: usize) -> Self {
        Self { max_bytes, max_depth, unique_keys: true }
    }

    /// For messages from backends.
    pub fn backend(max_bytes: usize, max_depth: usize) -> Self {
        Self { max_bytes, max_depth, unique_keys: false }
    }
}
