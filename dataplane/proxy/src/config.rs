//! The configuration file of the standalone gateway: reading, checking, explaining. Changes when a new form of input or
//! output is added; keys live in `model`.

mod compile;
mod decode;
mod diagnostic;
mod duration;
mod environment;
mod files;
mod model;
mod placeholders;
mod reference;
mod schema;
mod settings;
mod shape;
mod suggest;
mod values;
mod watch;
mod yaml;

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use bridge_snapshot::Snapshot;

use decode::{At, Context, Decode as _, FromText as _, Problem, Purpose};
pub use diagnostic::{Diagnostic, Position, Severity};
pub use model::observe::{LogFormat, LogLevel};
pub use settings::{LogSettings, MetricsSettings, ProcessSettings};
pub use watch::{ConfigWatch, WatchError, watch};

/// A configuration that can run.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the data plane runs on.
    pub snapshot: Snapshot,
    /// What the process needs besides.
    pub process: ProcessSettings,
    /// What its author should know.
    pub warnings: Vec<Diagnostic>,
}

/// Why there is no configuration. `Display` names every cause on a line of its own.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: error: {problem}; {remedy}")]
    Unreadable {
        /// The file, as given.
        file: String,
        /// What the system said.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The file cannot be used. Warnings are included.
    #[error("{}", Lines(.0))]
    Invalid(Vec<Diagnostic>),
}

impl ConfigError {
    /// The findings, in the order of the file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Invalid(diagnostics) => diagnostics,
        }
    }
}

struct Lines<'a>(&'a [Diagnostic]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

/// What `mcp-gateway check` has to say.
#[derive(Debug)]
pub struct CheckReport {
    file: String,
    outcome: Result<Vec<Diagnostic>, ConfigError>,
}

impl CheckReport {
    /// Whether the configuration can run, here or on a machine that has its files.
    pub fn is_usable(&self) -> bool {
        self.outcome.is_ok()
    }

    /// The findings, in the order of the file.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match &self.outcome {
            Ok(diagnostics) => diagnostics,
            Err(error) => error.diagnostics(),
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Err(error @ ConfigError::Unreadable { .. }) = &self.outcome {
            return writeln!(f, "{error}");
        }
        let diagnostics = self.diagnostics();
        if !diagnostics.is_empty() {
            writeln!(f, "{}", Lines(diagnostics))?;
        }
        let errors = diagnostics.iter().filter(|finding| finding.is_error()).count();
        let warnings = diagnostics.len() - errors;
        let verdict = if self.is_usable() { "usable" } else { "not usable" };
        writeln!(f, "{}: {verdict}, {errors} error(s), {warnings} warning(s)", self.file)
    }
}

/// Largest file that is read: a configuration is text that people write.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Reads and compiles a file for running here: files and variables that it names must exist. Reads the file system.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, ConfigError> {
    let text = read(path)?;
    build(&text, &path.display().to_string(), env, Purpose::Start, true)
}

/// Compiles a text as [`load`] does, without looking at the file system.
pub fn parse(
    text: &str,
    file_name: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Loaded, ConfigError> {
    build(text, file_name, env, Purpose::Start, false)
}

/// Checks a file: what only this machine lacks (certificate files, variables) is a warning.
pub fn check(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> CheckReport {
    let file = path.display().to_string();
    let outcome = read(path).and_then(|text| build(&text, &file, env, Purpose::Check, true));
    CheckReport { outcome: outcome.map(|loaded| loaded.warnings), file }
}

/// Warnings about variables with the gateway's prefix that override nothing and look misspelt.
pub fn misspelt_variables(names: impl Iterator<Item = String>) -> Vec<Diagnostic> {
    let found = environment::misspelt(names, &model::Config::keys());
    let warning = |(name, guess): (String, String)| Diagnostic {
        severity: Severity::Warning,
        file: String::new(),
        position: Position::Environment(name),
        path: String::new(),
        problem: "overrides no key".to_owned(),
        found: None,
        allowed: Some(format!("did you mean {guess}?")),
    };
    found.into_iter().map(warning).collect()
}

/// A duration above zero as keys have it, for the command line; the error says what is allowed.
pub(crate) fn go_duration(text: &str) -> Result<Duration, String> {
    values::Interval::from_text(text).map(|interval| interval.0).map_err(|problem| problem.to_string())
}

/// A JSON Schema of the configuration file, for editors.
pub fn schema() -> serde_json::Value {
    schema::of(&model::Config::keys())
}

/// The key tables of docs/configuration.md, as Markdown.
pub fn reference() -> String {
    reference::of(&model::Config::keys())
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |problem: String, remedy| ConfigError::Unreadable {
        file: path.display().to_string(),
        problem,
        remedy,
    };
    let read = || {
        let mut text = Vec::new();
        std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error: std::io::Error| {
        let remedy = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "name another file with `--config FILE`; deploy/examples/quickstart.yaml is one to start from"
            }
            std::io::ErrorKind::PermissionDenied => "let the user that runs the gateway read it",
            _ => "the configuration must be a readable file",
        };
        unreadable(error.to_string(), remedy)
    })?;
    if text.len() as u64 > MAX_FILE {
        return Err(unreadable(
            "larger than 4 MiB".to_owned(),
            "a configuration is a text that people write",
        ));
    }
    let text = String::from_utf8(text).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        unreadable(format!("not UTF-8 text at byte {at}"), "save the file as UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn build(
    text: &str,
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
    purpose: Purpose,
    look_at_files: bool,
) -> Result<Loaded, ConfigError> {
    let mut cx = Context { file, env, purpose, diagnostics: Vec::new() };
    let mut document = match yaml::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let at = At { path: String::new(), position: error.position.clone() };
            cx.error(&at, Problem::new(format!("not YAML: {error}")));
            return Err(ConfigError::Invalid(cx.diagnostics));
        }
    };
    if !matches!(document.value, yaml::Value::Map(_) | yaml::Value::Null) {
        cx.wrong_kind(
            &document,
            &At { path: String::new(), position: document.position.clone() },
            "a map of keys",
        );
        return Err(ConfigError::Invalid(cx.diagnostics));
    }
    placeholders::warn(&document, &At::root(), &mut cx);
    environment::apply(&mut document, &model::Config::keys(), &mut cx);
    let compiled = model::Config::decode(&document, &At::root(), &mut cx).map(|config| {
        let compiled = compile::compile(&config, &mut cx);
        if look_at_files {
            files::check(&compiled.files, &mut cx);
        }
        compiled
    });
    let mut diagnostics = cx.diagnostics;
    diagnostics.sort_by(|a, b| a.position.cmp(&b.position));
    match compiled {
        Some(compiled) if !diagnostics.iter().any(Diagnostic::is_error) => {
            Ok(Loaded { snapshot: compiled.snapshot, process: compiled.process, warnings: diagnostics })
        }
        _ => Err(ConfigError::Invalid(diagnostics)),
    }
}
