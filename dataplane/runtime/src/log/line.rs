//! One event as one line of text. Changes when a line looks different.

use std::fmt::Write as _;
use std::time::SystemTime;

use tracing::Level;

use super::Format;
use crate::timestamp;

/// Keys that a field may not take over.
const RESERVED: [&str; 5] = ["level", "timestamp", "caller", "msg", "service"];

#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// The same in every line, so that logs of several programs can share one store.
    pub(super) service: &'static str,
    pub(super) format: Format,
    pub(super) caller: bool,
    pub(super) colour: bool,
}

/// A field's value: text that needs quoting, or a number or boolean that does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Plain(String),
}

/// Fields in the order of first appearance; setting one again replaces its value.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    pub(super) fn set(&mut self, name: &'static str, value: Value) {
        match self.0.iter_mut().find(|(existing, _)| *existing == name) {
            Some((_, slot)) => *slot = value,
            None => self.0.push((name, value)),
        }
    }

    pub(super) fn extend(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            self.set(name, value.clone());
        }
    }
}

#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) time: SystemTime,
    pub(super) level: Level,
    pub(super) caller: Option<(&'a str, u32)>,
    pub(super) message: &'a str,
    pub(super) fields: &'a Fields,
}

impl Line<'_> {
    /// The line with its end-of-line character.
    pub(super) fn render(&self, style: Style) -> String {
        let mut out = match style.format {
            Format::Json => self.json(style),
            Format::Text => self.text(style),
        };
        out.push('\n');
        out
    }

    fn json(&self, style: Style) -> String {
        let time = timestamp::rfc3339(self.time);
        let mut out = format!(r#"{{"level":"{}","timestamp":"{time}""#, level_name(self.level));
        if style.caller
            && let Some((file, line)) = self.caller
        {
            let _ = write!(out, r#","caller":{}"#, quoted(&format!("{file}:{line}")));
        }
        let _ = write!(out, r#","msg":{},"service":"{}""#, quoted(self.message), style.service);
        for (name, value) in &self.fields.0 {
            let name = if RESERVED.contains(name) { &format!("field_{name}") } else { *name };
            let _ = match value {
                Value::Text(text) => write!(out, ",{}:{}", quoted(name), quoted(text)),
                Value::Plain(plain) => write!(out, ",{}:{plain}", quoted(name)),
            };
        }
        out.push('}');
        out
    }

    fn text(&self, style: Style) -> String {
        let mut out = timestamp::rfc3339(self.time);
        let level = level_name(self.level).to_ascii_uppercase();
        if style.colour {
            let _ = write!(out, " \x1b[{}m{level:>5}\x1b[0m ", colour(self.level));
        } else {
            let _ = write!(out, " {level:>5} ");
        }
        out.extend(self.message.chars().map(|c| if c.is_control() { ' ' } else { c }));
        for (name, value) in &self.fields.0 {
            let _ = match value {
                Value::Text(text) if needs_quotes(text) => write!(out, " {name}={text:?}"),
                Value::Text(text) | Value::Plain(text) => write!(out, " {name}={text}"),
            };
        }
        if style.caller
            && let Some((file, line)) = self.caller
        {
            let _ = write!(out, " caller={file}:{line}");
        }
        out
    }
}

/// JSON string literal.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty()
        || text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '"' | '=' | '\\'))
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// ANSI foreground colour (ECMA-48 section 8.3.117).
fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 36,
        Level::TRACE => 90,
    }
}
