//! Everything that cannot cross between generations: one closed table, from which `docs/bridging.md` is written.
//! Changes when a translator drops, refuses or replaces another thing.

mod page;

pub use page::page;

use crate::envelope::Kind;
use crate::error::code;
use crate::frame::Frame;

/// Which way a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A client of 2026-07-28 and a server that opens with `initialize`.
    ToLegacy,
    /// A client with a session and a server of 2026-07-28.
    ToModern,
    /// A client in a dialect of the original gateway, whatever the server.
    ToOriginal,
}

macro_rules! losses {
    ($($variant:ident $label:literal $direction:ident $error:expr, $feature:literal, $instead:literal;)*) => {
        /// Something that has no form in the other generation, or in the client's revision.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Loss {
            $(#[doc = concat!($feature, ": ", $instead)] $variant,)*
        }

        impl Loss {
            /// The whole table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Metric label.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }

            /// Where it happens.
            pub fn direction(self) -> Direction {
                match self { $(Self::$variant => Direction::$direction,)* }
            }

            /// What is lost, in Markdown.
            pub fn feature(self) -> &'static str {
                match self { $(Self::$variant => $feature,)* }
            }

            /// What happens instead, in Markdown.
            pub fn instead(self) -> &'static str {
                match self { $(Self::$variant => $instead,)* }
            }

            /// The JSON-RPC error code that somebody sees because of it, if any.
            pub fn error(self) -> Option<i64> {
                match self { $(Self::$variant => $error,)* }
            }
        }
    };
}

// variant, label, direction, error, what is lost, what happens instead
losses! {
    TaskTool "task_tool" ToLegacy None,
        "A tool that runs as a core task of 2025-11-25 only (`taskSupport` is `required`)",
        "it is left out of the list";
    TaskSupport "task_support" ToLegacy None,
        "`execution` of other tools",
        "it is left out of the listing; the tool is called and waited for";
    HeaderAnnotation "header_annotation" ToLegacy None,
        "`x-mcp-header` in a tool's input schema: a server that sees no such header cannot check it",
        "the annotation is left out of the listing";
    ClientExtensions "client_extensions" ToLegacy None,
        "`extensions` and `experimental` among the client's capabilities",
        "they are not declared to the server";
    SamplingBlocks "sampling_blocks" ToLegacy Some(code::INTERNAL),
        "A sampling answer with several blocks, or with a use of a tool, for a server of 2025-06-18 or older",
        "the server's request gets the error";
    UndeclaredQuestion "undeclared_question" ToLegacy Some(code::INVALID_PARAMS),
        "A question of a kind that the client did not declare in this request",
        "the server's request gets the error, or `-32601` for a method that was not declared at all";
    QuestionOutsideCall "question_outside_call" ToLegacy Some(code::METHOD_NOT_FOUND),
        "A question that belongs to no call in flight",
        "the server's request gets the error; nobody else is asked";
    UrlCompletion "url_completion" ToLegacy None,
        "`notifications/elicitation/complete` and `elicitationId`",
        "they are dropped; a client learns the outcome by its retry";
    ReservedError "reserved_error" ToLegacy Some(code::INTERNAL),
        "An error code from -32099 to -32020, which 2026-07-28 gives another meaning",
        "the code is replaced, message and data stay";
    LooseLog "loose_log" ToLegacy None,
        "Log messages that belong to no call, or to one that asked for none",
        "they are dropped";
    SessionList "session_list" ToLegacy None,
        "Lists that differ per connection or change with what a connection did before",
        "the list is the one of the gateway's own session";
    CoreTasks "core_tasks" ToModern Some(code::METHOD_NOT_FOUND),
        "Core tasks of 2025-11-25 (`params.task`, `tasks/*`)",
        "the server does not see `params.task` and answers when it is done; the capability is not offered";
    ServerExtensions "server_extensions" ToModern None,
        "`extensions` among the server's capabilities",
        "they are left out of the answer to `initialize`";
    ServerTask "server_task" ToModern Some(code::INTERNAL),
        "An answer whose `resultType` is not `complete` or `input_required`",
        "the call fails";
    MissingCapability "missing_capability" ToModern None,
        "`-32021` in answer to a tool call: the server needs what the client cannot do",
        "a result with `isError` names the capability; other requests get code and data as they are";
    OutputSchema "output_schema" ToModern None,
        "`outputSchema` whose root is no object, or any for a client older than 2025-06-18",
        "it is left out of the listing";
    StructuredContent "structured_content" ToModern None,
        "`structuredContent` that is no object, or any for a client older than 2025-06-18",
        "a text block holds its JSON";
    AudioContent "audio_content" ToModern None,
        "Audio for a client of 2024-11-05",
        "a text block says that there was audio";
    ResourceLink "resource_link" ToModern None,
        "Resource links for a client older than 2025-06-18",
        "a text block names the resource and its URI";
    MultiSelect "multi_select" ToModern None,
        "A form with a choice of several values for a client of 2025-06-18",
        "the server is told `cancel`";
    FormDefaults "form_defaults" ToModern None,
        "`default` of a form's fields other than booleans for a client of 2025-06-18",
        "the form is shown without it";
    UnaskedQuestion "unasked_question" ToModern None,
        "A question that the client did not declare or that its revision has no form for",
        "an elicitation is told `cancel`; the call fails for others";
    RefusedQuestion "refused_question" ToModern Some(code::INTERNAL),
        "A client's error in answer to sampling or roots",
        "the call fails with the client's reason, a tool call by a result with `isError`";
    ClientNotice "client_notice" ToModern None,
        "`notifications/roots/list_changed`, progress of a client's own work, notifications of its extensions",
        "they are dropped; a server asks for roots when it needs them";
    ServerNotice "server_notice" ToModern None,
        "Notifications of extensions",
        "they are dropped";
    UnreadNotice "unread_notice" ToOriginal None,
        "Notifications: progress, logs, changes of lists and resources, acknowledgements of listens",
        "they are dropped";
    UnreadQuestion "unread_question" ToOriginal Some(code::METHOD_NOT_FOUND),
        "A question of a server in a session: sampling, elicitation, roots",
        "the server's request gets the error";
}

/// What is lost when a client that reads answers only is sent this.
pub fn unread(message: &Frame) -> Losses {
    match message.kind() {
        Kind::Notification => Loss::UnreadNotice.into(),
        Kind::Request => Loss::UnreadQuestion.into(),
        Kind::Result | Kind::Error => Losses::default(),
    }
}

/// The losses of one message or call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses(u64);

const _: () = assert!(Loss::ALL.len() <= u64::BITS as usize, "one bit each");

impl From<Loss> for Losses {
    fn from(loss: Loss) -> Self {
        let mut losses = Self::default();
        losses.insert(loss);
        losses
    }
}

impl Losses {
    /// Notes one.
    pub fn insert(&mut self, loss: Loss) {
        self.0 |= 1 << loss as u32;
    }

    /// Notes all of another.
    pub fn extend(&mut self, others: Self) {
        self.0 |= others.0;
    }

    /// Whether it was noted.
    pub fn contains(self, loss: Loss) -> bool {
        self.0 & (1 << loss as u32) != 0
    }

    /// Whether nothing was lost.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What was noted, in the order of the table.
    pub fn iter(self) -> impl Iterator<Item = Loss> {
        Loss::ALL.iter().copied().filter(move |loss| self.contains(*loss))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_loss_has_a_label_of_its_own() {
        let labels: BTreeSet<_> = Loss::ALL.iter().map(|loss| loss.as_str()).collect();
        assert_eq!(labels.len(), Loss::ALL.len());
        for label in labels {
            assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{label}");
        }
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut all = Losses::default();
        assert!(all.is_empty());
        for loss in Loss::ALL {
            assert!(!all.contains(*loss));
            all.insert(*loss);
            all.insert(*loss);
        }
        assert!(all.iter().eq(Loss::ALL.iter().copied()));
        let mut other = Losses::default();
        other.insert(Loss::AudioContent);
        other.extend(Losses::default());
        assert_eq!(other.iter().collect::<Vec<_>>(), [Loss::AudioContent]);
    }
}
