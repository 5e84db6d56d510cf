//! What compiling says about an object besides its configuration. Changes when a report needs another fact.

use std::fmt::Display;

use bridge_api::condition::{Accepted, Reason, ResolvedRefs, Verdict};

/// A reason of a condition, and words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<R> {
    /// For programs.
    pub reason: R,
    /// For people: the field, and what is allowed. No secrets.
    pub message: String,
}

impl<R: Reason> Finding<R> {
    /// A reason with its words.
    pub fn new(reason: R, message: impl Display) -> Self {
        Self { reason, message: message.to_string() }
    }

    /// Whether the condition holds.
    pub fn holds(&self) -> bool {
        self.reason.verdict() == Verdict::True
    }
}

/// Why something is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The specification.
    Spec(Finding<Accepted>),
    /// Something that it refers to.
    Reference(Finding<ResolvedRefs>),
}

impl Problem {
    /// The specification is wrong.
    pub fn spec(reason: Accepted, message: impl Display) -> Self {
        Self::Spec(Finding::new(reason, message))
    }

    /// The data plane of this version cannot do what a field asks for, and leaving that out would be dangerous.
    pub fn unsupported(field: &str, instead: impl Display) -> Self {
        Self::spec(
            Accepted::Invalid,
            format_args!("{field}: this version cannot apply it and does not ignore it; {instead}"),
        )
    }

    /// A reference leads nowhere.
    pub fn reference(reason: ResolvedRefs, message: impl Display) -> Self {
        Self::Reference(Finding::new(reason, message))
    }

    /// With the field that it is about before what was found there.
    #[must_use]
    pub fn at(self, field: impl Display) -> Self {
        match self {
            Self::Spec(found) => Self::spec(found.reason, format_args!("{field}: {}", found.message)),
            Self::Reference(found) => {
                Self::reference(found.reason, format_args!("{field}: {}", found.message))
            }
        }
    }

    /// For people.
    pub fn message(&self) -> &str {
        match self {
            Self::Spec(finding) => &finding.message,
            Self::Reference(finding) => &finding.message,
        }
    }
}

/// The sentence about fields that this version does not act on, harmless ones.
pub(super) fn without_effect(fields: &[&str]) -> Option<String> {
    (!fields.is_empty()).then(|| format!("without effect in this version: {}", fields.join(", ")))
}
