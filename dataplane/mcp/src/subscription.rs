//! Change notifications that a client asked for with `subscriptions/listen`: the filter and what it lets through.
//! Changes when a revision adds a kind of subscription.
//!
//! Source: MCP 2026-07-28, "Subscriptions"; `taskIds` is of the extension `io.modelcontextprotocol/tasks`.

mod frames;

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::limits::Limits;
use crate::scan::{ScanError, Scanner, decode_string};

pub use frames::{acknowledged, cancelled, finished, tag};

/// What a client wants to hear of, or the part of it that is honoured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Changes of the tool list.
    pub tools_list_changed: bool,
    /// Changes of the prompt list.
    pub prompts_list_changed: bool,
    /// Changes of the resource list.
    pub resources_list_changed: bool,
    /// Updates of these resources.
    pub resource_subscriptions: BTreeSet<Box<str>>,
    /// State of these tasks.
    pub task_ids: BTreeSet<Box<str>>,
}

/// What the gateway can deliver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Supported {
    /// Changes of the tool list.
    pub tools_list_changed: bool,
    /// Changes of the prompt list.
    pub prompts_list_changed: bool,
    /// Changes of the resource list.
    pub resources_list_changed: bool,
    /// Updates of resources.
    pub resource_subscriptions: bool,
    /// State of tasks.
    pub tasks: bool,
}

/// Why a filter is refused; answered with `-32602`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not there, or not an object.
    #[error("`params.notifications` must be an object")]
    NotObject,
    /// A member of another type.
    #[error("`params.notifications.{member}` must be {expected}")]
    WrongType {
        /// The member.
        member: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// More URIs or task ids than one subscription may have.
    #[error("`params.notifications.{member}` has more than {max} entries")]
    TooMany {
        /// The member.
        member: &'static str,
        /// The bound.
        max: usize,
    },
    /// Not acceptable JSON.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

const TOOLS: &str = "toolsListChanged";
const PROMPTS: &str = "promptsListChanged";
const RESOURCES: &str = "resourcesListChanged";
const URIS: &str = "resourceSubscriptions";
const TASKS: &str = "taskIds";

impl Filter {
    /// Reads the raw `params.notifications`, with at most `max_entries` URIs and as many task ids. Members of other
    /// extensions are ignored and so are not acknowledged.
    pub fn parse(
        notifications: Option<&[u8]>,
        limits: &Limits,
        max_entries: usize,
    ) -> Result<Self, FilterError> {
        let text = notifications.ok_or(FilterError::NotObject)?;
        let mut scanner = Scanner::new(text, limits)?;
        if scanner.peek() != Some(b'{') {
            return Err(FilterError::NotObject);
        }
        let mut filter = Self::default();
        let mut refused = None;
        scanner.object(|scanner, key| {
            let read = match decode_string(key.of(text)).as_deref() {
                Some(TOOLS) => read_flag(text, scanner, TOOLS, &mut filter.tools_list_changed),
                Some(PROMPTS) => read_flag(text, scanner, PROMPTS, &mut filter.prompts_list_changed),
                Some(RESOURCES) => read_flag(text, scanner, RESOURCES, &mut filter.resources_list_changed),
                Some(URIS) => {
                    read_texts(text, scanner, URIS, max_entries, &mut filter.resource_subscriptions)
                }
                Some(TASKS) => read_texts(text, scanner, TASKS, max_entries, &mut filter.task_ids),
                _ => scanner.value().map(|_| None),
            };
            refused = refused.take().or(read?);
            Ok(())
        })?;
        scanner.end()?;
        refused.map_or(Ok(filter), Err)
    }

    /// The part of it that is supported.
    #[must_use]
    pub fn honoured(&self, supported: Supported) -> Self {
        let keep =
            |set: &BTreeSet<Box<str>>, supported| if supported { set.clone() } else { BTreeSet::new() };
        Self {
            tools_list_changed: self.tools_list_changed && supported.tools_list_changed,
            prompts_list_changed: self.prompts_list_changed && supported.prompts_list_changed,
            resources_list_changed: self.resources_list_changed && supported.resources_list_changed,
            resource_subscriptions: keep(&self.resource_subscriptions, supported.resource_subscriptions),
            task_ids: keep(&self.task_ids, supported.tasks),
        }
    }

    /// As JSON, for an acknowledgement or for a subscription upstream. What is not wanted is left out.
    pub fn to_json(&self) -> Bytes {
        let mut members = Map::new();
        let flags = [
            (TOOLS, self.tools_list_changed),
            (PROMPTS, self.prompts_list_changed),
            (RESOURCES, self.resources_list_changed),
        ];
        for (member, _) in flags.into_iter().filter(|(_, wanted)| *wanted) {
            members.insert(member.to_owned(), true.into());
        }
        for (member, texts) in [(URIS, &self.resource_subscriptions), (TASKS, &self.task_ids)] {
            if !texts.is_empty() {
                members
                    .insert(member.to_owned(), json!(texts.iter().map(|text| &**text).collect::<Vec<_>>()));
            }
        }
        Value::Object(members).to_string().into()
    }

    /// Whether a notification may pass. `subject` is `params.uri` of a resource update, `params.taskId` of a task's.
    /// Everything that is not named here, progress and logs above all, never passes.
    pub fn matches(&self, method: &str, subject: Option<&str>) -> bool {
        match method {
            "notifications/tools/list_changed" => self.tools_list_changed,
            "notifications/prompts/list_changed" => self.prompts_list_changed,
            "notifications/resources/list_changed" => self.resources_list_changed,
            "notifications/resources/updated" => subject.is_some_and(|uri| self.covers(uri)),
            "notifications/tasks" => subject.is_some_and(|task| self.task_ids.contains(task)),
            _ => false,
        }
    }

    /// Whether nothing can pass.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// An update may name a part of the subscribed resource (schema, `ResourceUpdatedNotification`): a URI that
    /// continues the subscribed one by a path segment, a query or a fragment.
    fn covers(&self, uri: &str) -> bool {
        let continues = |whole: &str| {
            uri.strip_prefix(whole)
                .is_some_and(|rest| whole.ends_with('/') || rest.starts_with(['/', '?', '#']))
        };
        self.resource_subscriptions.contains(uri)
            || self.resource_subscriptions.iter().any(|whole| continues(whole))
    }
}

type Read = Result<Option<FilterError>, ScanError>;

fn read_flag(text: &[u8], scanner: &mut Scanner<'_>, member: &'static str, flag: &mut bool) -> Read {
    match scanner.value()?.of(text) {
        b"true" => *flag = true,
        b"false" => *flag = false,
        _ => return Ok(Some(FilterError::WrongType { member, expected: "true or false" })),
    }
    Ok(None)
}

fn read_texts(
    text: &[u8],
    scanner: &mut Scanner<'_>,
    member: &'static str,
    max: usize,
    texts: &mut BTreeSet<Box<str>>,
) -> Read {
    let wrong = FilterError::WrongType { member, expected: "an array of strings" };
    if scanner.peek() != Some(b'[') {
        scanner.value()?;
        return Ok(Some(wrong));
    }
    let mut refused = None;
    scanner.array(|scanner| {
        match decode_string(scanner.value()?.of(text)) {
            None => refused = Some(wrong.clone()),
            Some(entry) if texts.len() < max || texts.contains(entry.as_ref()) => {
                texts.insert(entry.into());
            }
            Some(_) => refused = Some(FilterError::TooMany { member, max }),
        }
        Ok(())
    })?;
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Filter, FilterError> {
        Filter::parse(Some(text.as_bytes()), &Limits::client(10_000, 10), 3)
    }

    fn set(texts: &[&str]) -> BTreeSet<Box<str>> {
        texts.iter().map(|text| (*text).into()).collect()
    }

    #[test]
    fn a_filter_is_read_and_unknown_kinds_are_ignored() {
        let filter = parse(
            r#"{"toolsListChanged":true,"promptsListChanged":false,"x/y":{"a":[1]},
                "resourceSubscriptions":["a:\u0062","a:b","a:c"],"taskIds":["t"]}"#,
        );
        let expected = Filter {
            tools_list_changed: true,
            resource_subscriptions: set(&["a:b", "a:c"]),
            task_ids: set(&["t"]),
            ..Filter::default()
        };
        assert_eq!(filter, Ok(expected));
        assert!(parse("{}").unwrap().is_empty());
    }

    #[test]
    fn a_wrong_filter_is_refused_with_the_member() {
        assert_eq!(Filter::parse(None, &Limits::client(9, 9), 3), Err(FilterError::NotObject));
        assert_eq!(parse("[]"), Err(FilterError::NotObject));
        let wrong = |member, expected| Err(FilterError::WrongType { member, expected });
        assert_eq!(
            parse(r#"{"toolsListChanged":1,"taskIds":[]}"#),
            wrong("toolsListChanged", "true or false")
        );
        let texts = "an array of strings";
        assert_eq!(parse(r#"{"resourceSubscriptions":"a:b"}"#), wrong("resourceSubscriptions", texts));
        assert_eq!(parse(r#"{"taskIds":["a",2]}"#), wrong("taskIds", texts));
        let many = FilterError::TooMany { member: "resourceSubscriptions", max: 3 };
        assert_eq!(parse(r#"{"resourceSubscriptions":["1","2","3","4"]}"#), Err(many));
        assert!(matches!(parse(r#"{"taskIds":["a"]"#), Err(FilterError::Scan(_))));
        assert!(matches!(parse(r#"{"taskIds":[],"taskIds":[]}"#), Err(FilterError::Scan(_))));
    }

    #[test]
    fn only_what_is_supported_is_honoured() {
        let all = r#"{"promptsListChanged":true,"resourceSubscriptions":["a:b"],"resourcesListChanged":true,"taskIds":["t"],"toolsListChanged":true}"#;
        let filter = parse(all).unwrap();
        let everything = Supported {
            tools_list_changed: true,
            prompts_list_changed: true,
            resources_list_changed: true,
            resource_subscriptions: true,
            tasks: true,
        };
        assert_eq!(filter.honoured(everything), filter);
        assert_eq!(parse(std::str::from_utf8(&filter.to_json()).unwrap()), Ok(filter.clone()));
        let some =
            Supported { resource_subscriptions: true, resources_list_changed: true, ..Supported::default() };
        assert_eq!(
            filter.honoured(some).to_json(),
            r#"{"resourceSubscriptions":["a:b"],"resourcesListChanged":true}"#
        );
        assert_eq!(filter.honoured(Supported::default()).to_json(), "{}");
        let tools = Supported { tools_list_changed: true, ..Supported::default() };
        assert_eq!(
            Filter::default().honoured(tools),
            Filter::default(),
            "what was not asked for is not honoured"
        );
    }

    #[test]
    fn nothing_passes_that_was_not_asked_for() {
        let filter =
            parse(r#"{"toolsListChanged":true,"resourceSubscriptions":["a:b","d:/"],"taskIds":["t"]}"#)
                .unwrap();
        for (method, subject, passes) in [
            ("notifications/tools/list_changed", None, true),
            ("notifications/prompts/list_changed", None, false),
            ("notifications/resources/list_changed", None, false),
            ("notifications/resources/updated", Some("a:b"), true),
            ("notifications/resources/updated", Some("a:b/c"), true),
            ("notifications/resources/updated", Some("a:b#c"), true),
            ("notifications/resources/updated", Some("a:bc"), false),
            ("notifications/resources/updated", Some("d:/e"), true),
            ("notifications/resources/updated", Some("a:"), false),
            ("notifications/resources/updated", None, false),
            ("notifications/tasks", Some("t"), true),
            ("notifications/tasks", Some("u"), false),
            ("notifications/progress", None, false),
            ("notifications/message", None, false),
        ] {
            assert_eq!(filter.matches(method, subject), passes, "{method} {subject:?}");
        }
    }
}
