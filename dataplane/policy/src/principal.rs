//! Who is calling, as data. Changes when identities carry more.

/// An authenticated caller, or everybody when authentication is off.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal(String);

impl Principal {
    /// The principal of a gateway without authentication.
    pub fn anonymous() -> Self {
        Self("anonymous".to_owned())
    }

    /// Its name, for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
