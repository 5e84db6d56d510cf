//! Findings about a configuration and how they print. Changes when the printed form changes.

use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot run.
    Error,
    /// It runs, but not as its author may think.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// A place in the configuration file; both count from 1, columns in characters.
    File {
        /// Line.
        line: u64,
        /// Column.
        column: u64,
    },
    /// The file as a whole: what is missing has no place.
    WholeFile,
    /// An environment variable.
    Environment(String),
}

/// One finding. `Display` gives
/// `file:line:column: error: key.path: what is wrong; found <text>; allowed: <what>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// File name as the user gave it.
    pub file: String,
    /// Where.
    pub position: Position,
    /// Dotted path of the key, for example `server.port` or `backends[0].name`; empty for the document.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// The offending text, when showing it reveals no secret.
    pub found: Option<String>,
    /// What would be right, or what to do.
    pub allowed: Option<String>,
}

/// Longest part of an offending text that is shown, in characters.
const SHOWN: usize = 60;

impl Diagnostic {
    /// Whether it forbids running.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.position {
            Position::File { line, column } => write!(f, "{}:{line}:{column}: ", self.file)?,
            Position::WholeFile => write!(f, "{}: ", self.file)?,
            Position::Environment(name) => write!(f, "environment variable {name}: ")?,
        }
        write!(f, "{}: ", self.severity)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", printable(&self.path))?;
        }
        f.write_str(&printable(&self.problem))?;
        if let Some(found) = &self.found {
            write!(f, "; found `{}`", shortened(found))?;
        }
        if let Some(allowed) = &self.allowed {
            write!(f, "; {}", printable(allowed))?;
        }
        Ok(())
    }
}

/// Control characters escaped: configuration text must not drive a terminal or forge a log line.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", printable(text.get(..end).unwrap_or(text))),
        None => printable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(found: &str) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            file: "gateway.yaml".to_owned(),
            position: Position::File { line: 3, column: 9 },
            path: "server.port".to_owned(),
            problem: "not a port".to_owned(),
            found: Some(found.to_owned()),
            allowed: Some("allowed: 0 to 65535".to_owned()),
        }
    }

    #[test]
    fn prints_place_path_problem_text_and_remedy() {
        assert_eq!(
            port("eight").to_string(),
            "gateway.yaml:3:9: error: server.port: not a port; found `eight`; allowed: 0 to 65535"
        );
    }

    #[test]
    fn offending_text_cannot_forge_lines_or_fill_the_screen() {
        let shown = port(&format!("\u{1b}[2J\n{}", "x".repeat(500))).to_string();
        assert!(!shown.contains('\n') && !shown.contains('\u{1b}'), "{shown}");
        assert!(shown.len() < 250, "{shown}");
    }
}
