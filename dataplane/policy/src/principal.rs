//! Who is calling, as data. Changes when identities carry more.

use std::borrow::Cow;

/// An authenticated caller, or everybody when authentication is off.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal(Cow<'static, str>);

impl Principal {
    /// The principal of a gateway without authentication.
    pub fn anonymous() -> Self {
        Self(Cow::Borrowed("anonymous"))
    }

    /// Its name, for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
