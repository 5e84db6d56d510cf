//! The three kinds of question that a server may put to a client's user, in either generation, and what counts as an
//! answer. Changes when a revision adds a kind of question.

use super::members::{Object, elements, is_object};
use crate::method::Method;
use crate::scan::{Kind as Json, kind_of};

/// A kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// `elicitation/create`: a person fills a form or visits a page.
    Elicitation,
    /// `sampling/createMessage`: a model completes a text.
    Sampling,
    /// `roots/list`: the client names its folders.
    Roots,
}

/// The answer that ends an elicitation without the person.
pub(super) const CANCEL: &[u8] = br#"{"action":"cancel"}"#;

impl Question {
    /// The kind that a method asks.
    pub(super) fn of_method(method: Method) -> Option<Self> {
        match method {
            Method::Elicit => Some(Self::Elicitation),
            Method::CreateMessage => Some(Self::Sampling),
            Method::RootsList => Some(Self::Roots),
            _ => None,
        }
    }

    pub(super) fn method(self) -> Method {
        match self {
            Self::Elicitation => Method::Elicit,
            Self::Sampling => Method::CreateMessage,
            Self::Roots => Method::RootsList,
        }
    }

    /// What it is called in keys and texts.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Elicitation => "elicitation",
            Self::Sampling => "sampling",
            Self::Roots => "roots",
        }
    }

    /// Whether a raw result has the form of an answer (schemas `ElicitResult`, `CreateMessageResult`,
    /// `ListRootsResult`, the same in all revisions but for what `content` may hold).
    pub(super) fn is_answered_by(self, raw: &[u8]) -> bool {
        let Some(result) = Object::whole(raw) else { return false };
        match self {
            Self::Elicitation => {
                let content = result.raw("content").is_none_or(is_object);
                content && matches!(result.text("action").as_deref(), Some("accept" | "decline" | "cancel"))
            }
            Self::Sampling => {
                let content = result.raw("content").and_then(kind_of);
                matches!(content, Some(Json::Object | Json::Array))
                    && result.text("role").is_some()
                    && result.text("model").is_some()
            }
            Self::Roots => {
                let Some(roots) = result.get("roots") else { return false };
                elements(raw, roots).is_some_and(|roots| {
                    roots
                        .into_iter()
                        .all(|root| Object::at(raw, root).is_some_and(|root| root.text("uri").is_some()))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_no_answer() {
        for (question, raw, is_answer) in [
            (Question::Elicitation, r#"{"action":"accept","content":{"a":1}}"#, true),
            (Question::Elicitation, r#" {"action":"decl\u0069ne"} "#, true),
            (Question::Elicitation, r#"{"action":"maybe"}"#, false),
            (Question::Elicitation, r#"{"action":"accept","content":[]}"#, false),
            (Question::Elicitation, r#"{"content":{}}"#, false),
            (Question::Elicitation, r#""accept""#, false),
            (Question::Sampling, r#"{"role":"assistant","model":"m","content":{}}"#, true),
            (Question::Sampling, r#"{"role":"assistant","model":"m","content":[]}"#, true),
            (Question::Sampling, r#"{"role":"assistant","model":"m","content":"hi"}"#, false),
            (Question::Sampling, r#"{"role":"assistant","content":{}}"#, false),
            (Question::Roots, r#"{"roots":[]}"#, true),
            (Question::Roots, r#"{"roots":[{"uri":"file:///a"}]}"#, true),
            (Question::Roots, r#"{"roots":[{"name":"a"}]}"#, false),
            (Question::Roots, r#"{"roots":{}}"#, false),
            (Question::Roots, "{}", false),
        ] {
            assert_eq!(question.is_answered_by(raw.as_bytes()), is_answer, "{raw}");
        }
    }
}
