//! How much is logged. Changes when there is another level.

use serde::{Deserialize, Serialize};

/// Level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// Steps that help to find a fault.
    Debug,
    /// What an operator wants to see.
    Info,
    /// What deserves a look.
    Warn,
    /// What failed.
    Error,
}

impl LogLevel {
    /// As configuration spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}
