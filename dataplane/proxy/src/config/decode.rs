//! From located YAML to typed sections, collecting every finding on the way. Changes when keys need a new property
//! or a new kind of value.

use super::diagnostic::{Diagnostic, Position, Severity};
use super::shape::{Key, Shape};
use super::suggest::closest;
use super::yaml::{Entry, Node, Value};

/// Where a value stands: for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) path: String,
    pub(crate) position: Position,
}

impl At {
    pub(crate) fn root() -> Self {
        Self { path: String::new(), position: Position::WholeFile }
    }

    pub(crate) fn child(&self, key: &str, position: Position) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { path, position }
    }

    pub(crate) fn item(&self, index: usize, position: Position) -> Self {
        Self { path: format!("{}[{index}]", self.path), position }
    }
}

/// A value, its place, and whether anybody wrote it.
#[derive(Debug, Clone)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) at: At,
    /// False when it is the default.
    pub(crate) given: bool,
}

impl<T> std::ops::Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Located<T> {
    /// Another form of the value, from the same place.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: change(self.value), at: self.at, given: self.given }
    }
}

/// Why the configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To run here: what this machine lacks is an error.
    Start,
    /// To check the file itself: what this machine lacks is a warning.
    Check,
}

/// What decoding may look at, and the findings so far.
pub(crate) struct Context<'a> {
    pub(crate) file: &'a str,
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    pub(crate) purpose: Purpose,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Context<'_> {
    /// Records a finding; `found` must not be a secret.
    pub(crate) fn report(&mut self, severity: Severity, at: &At, problem: Problem, found: Option<String>) {
        self.diagnostics.push(Diagnostic {
            severity,
            file: self.file.to_owned(),
            position: at.position.clone(),
            path: at.path.clone(),
            problem: problem.what,
            found,
            allowed: problem.remedy,
        });
    }

    pub(crate) fn error(&mut self, at: &At, problem: Problem) {
        self.report(Severity::Error, at, problem, None);
    }

    pub(crate) fn warn(&mut self, at: &At, problem: Problem) {
        self.report(Severity::Warning, at, problem, None);
    }

    /// Something this machine lacks: forbids starting, but says nothing about the file.
    pub(crate) fn lacking(&mut self, at: &At, problem: Problem) {
        match self.purpose {
            Purpose::Start => self.error(at, problem),
            Purpose::Check => self.warn(at, problem),
        }
    }

    pub(crate) fn wrong_kind(&mut self, node: &Node, at: &At, expected: &str) {
        self.error(at, Problem::new(format!("expected {expected}, found {}", node.value.kind())));
    }

    pub(crate) fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|finding| finding.is_error()).count()
    }

    /// The entries of a section, each with the key it spells; unknown ones are reported and left out.
    pub(crate) fn open<'n>(
        &mut self,
        node: &'n Node,
        at: &At,
        keys: &[Key],
    ) -> Vec<(&'static str, &'n Entry)> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => {
                self.wrong_kind(node, at, "a map of keys");
                &[]
            }
        };
        let mut known: Vec<(&'static str, &Entry)> = Vec::new();
        for entry in entries {
            let place = at.child(&entry.key, entry.key_position.clone());
            // The original matches keys without regard to case.
            match keys.iter().find(|key| key.name.eq_ignore_ascii_case(&entry.key)) {
                Some(key) if known.iter().any(|(name, _)| *name == key.name) => {
                    self.error(&place, Problem::new(format!("`{}` is given twice", key.name)));
                }
                Some(key) => known.push((key.name, entry)),
                None => {
                    let problem = Problem::new("unknown key, ignored");
                    let problem = match closest(&entry.key, keys.iter().map(|key| key.name)) {
                        Some(name) => problem.remedy(format!("did you mean `{name}`?")),
                        None => problem,
                    };
                    self.warn(&place, problem);
                }
            }
        }
        known
    }

    /// One key of an opened section, or its default.
    pub(crate) fn field<T: Decode>(
        &mut self,
        at: &At,
        entries: &[(&'static str, &Entry)],
        key: &Key,
        default: impl FnOnce(&At) -> T,
    ) -> Located<T> {
        let entry = entries.iter().find(|(name, _)| *name == key.name).map(|(_, entry)| entry);
        let Some(entry) = entry.filter(|entry| T::NULL_IS_A_VALUE || entry.value.value != Value::Null) else {
            let at = at.child(key.name, at.position.clone());
            return Located { value: default(&at), at, given: false };
        };
        // A map or list begins below its key; the key is where its author looks.
        let position = match entry.value.value {
            Value::Scalar(_) | Value::Null => &entry.value.position,
            Value::List(_) | Value::Map(_) => &entry.key_position,
        };
        let at = at.child(key.name, position.clone());
        if let Some(text) = key.status.warning() {
            let place = At { path: at.path.clone(), position: entry.key_position.clone() };
            self.warn(&place, Problem::new(text));
        }
        match T::decode(&entry.value, &at, self) {
            Some(value) => Located { value, at, given: true },
            None => Located { value: default(&at), at, given: true },
        }
    }
}

/// What is wrong with a value and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    what: String,
    remedy: Option<String>,
    shown: Option<String>,
}

impl Problem {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None, shown: None }
    }

    /// What would be right, or what to do.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// What to show instead of the whole offending text.
    pub(crate) fn shown(&self) -> Option<&str> {
        self.shown.as_deref()
    }

    /// Shows this instead of the whole offending text.
    pub(crate) fn showing(mut self, text: impl Into<String>) -> Self {
        self.shown = Some(text.into());
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

/// A value that a key can have.
pub(crate) trait Decode: Sized {
    /// Whether an empty value (`key:`) means something other than leaving the key out.
    const NULL_IS_A_VALUE: bool = false;

    /// What it looks like, for the JSON Schema, the reference page and environment overrides.
    fn shape() -> Shape;

    /// Reads it, recording what is wrong. `None` only after recording an error.
    fn decode(node: &Node, at: &At, cx: &mut Context<'_>) -> Option<Self>;
}

/// A value that may be left out without a written default. `at` is where it would have stood.
pub(crate) trait Absent: Decode {
    fn absent(at: &At) -> Self;
}

/// A value written as one piece of text. Messages about it show the text, so what may be a secret must not fail here.
pub(crate) trait FromText: Sized {
    fn text_shape() -> Shape;
    fn from_text(text: &str) -> Result<Self, Problem>;
    /// The canonical spelling, as the JSON of a default.
    fn to_json(&self) -> serde_json::Value;
}

impl<T: FromText> Decode for T {
    fn shape() -> Shape {
        T::text_shape()
    }

    fn decode(node: &Node, at: &At, cx: &mut Context<'_>) -> Option<Self> {
        let Value::Scalar(text) = &node.value else {
            cx.wrong_kind(node, at, "a single value");
            return None;
        };
        match T::from_text(text) {
            Ok(value) => Some(value),
            Err(problem) => {
                let found = problem.shown.clone().unwrap_or_else(|| text.clone());
                cx.report(Severity::Error, at, problem, Some(found));
                None
            }
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    const NULL_IS_A_VALUE: bool = T::NULL_IS_A_VALUE;

    fn shape() -> Shape {
        T::shape()
    }

    fn decode(node: &Node, at: &At, cx: &mut Context<'_>) -> Option<Self> {
        T::decode(node, at, cx).map(Some)
    }
}

impl<T: Decode> Absent for Option<T> {
    fn absent(_: &At) -> Self {
        None
    }
}

impl<T: Decode> Decode for Vec<Located<T>> {
    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }

    fn decode(node: &Node, at: &At, cx: &mut Context<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            cx.wrong_kind(node, at, "a list");
            return None;
        };
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let at = at.item(index, item.position.clone());
            let before = cx.errors();
            // An item with errors would only cause more of them further on.
            if let Some(value) = T::decode(item, &at, cx).filter(|_| cx.errors() == before) {
                list.push(Located { value, at, given: true });
            }
        }
        Some(list)
    }
}

impl<T: Decode> Absent for Vec<Located<T>> {
    fn absent(_: &At) -> Self {
        Self::new()
    }
}

/// A map with keys that the user chooses, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Named<T>(pub(crate) Vec<(String, Located<T>)>);

impl<T: Decode> Decode for Named<T> {
    fn shape() -> Shape {
        Shape::Map(Box::new(T::shape()))
    }

    fn decode(node: &Node, at: &At, cx: &mut Context<'_>) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            cx.wrong_kind(node, at, "a map");
            return None;
        };
        let mut named = Vec::with_capacity(entries.len());
        for Entry { key, value, .. } in entries {
            let at = at.child(key, value.position.clone());
            if let Some(value) = T::decode(value, &at, cx) {
                named.push((key.clone(), Located { value, at, given: true }));
            }
        }
        Some(Self(named))
    }
}

impl<T: Decode> Absent for Named<T> {
    fn absent(_: &At) -> Self {
        Self(Vec::new())
    }
}

/// A list of texts that may also be written as one text with commas, as the original and environment variables do.
#[derive(Debug, Clone)]
pub(crate) struct CommaList<T>(pub(crate) Vec<Located<T>>);

impl<T: FromText> Decode for CommaList<T> {
    fn shape() -> Shape {
        Shape::CommaList(Box::new(T::text_shape()))
    }

    fn decode(node: &Node, at: &At, cx: &mut Context<'_>) -> Option<Self> {
        let Value::Scalar(text) = &node.value else { return Vec::decode(node, at, cx).map(Self) };
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        let items =
            items.map(|item| Node { value: Value::Scalar(item.to_owned()), position: node.position.clone() });
        let list = Node { value: Value::List(items.collect()), position: node.position.clone() };
        Vec::decode(&list, at, cx).map(Self)
    }
}

impl<T: FromText> Absent for CommaList<T> {
    fn absent(_: &At) -> Self {
        Self(Vec::new())
    }
}
