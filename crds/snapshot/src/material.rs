//! Certificates, keys and secrets that a configuration refers to. Changes when they can be somewhere else.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// A certificate, a key or a secret, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Material {
    /// A file of the machine. It is read when the configuration is put into effect, and again on reload.
    File(PathBuf),
    /// An environment variable of the process.
    Env(String),
    /// A value of a Secret, which comes as a resource of its own: assembling puts the value here.
    Key {
        /// Name of the Secret, `namespace/name`.
        secret: String,
        /// Key within it.
        key: String,
    },
    /// The value itself.
    Value {
        /// Where it is from, for messages.
        origin: String,
        /// The value.
        value: Secret,
    },
}

impl Material {
    /// Name of the Secret that its value comes from, as long as that is not here.
    pub fn secret(&self) -> Option<&str> {
        match self {
            Self::Key { secret, .. } => Some(secret),
            Self::File(_) | Self::Env(_) | Self::Value { .. } => None,
        }
    }
}

impl From<PathBuf> for Material {
    fn from(file: PathBuf) -> Self {
        Self::File(file)
    }
}
