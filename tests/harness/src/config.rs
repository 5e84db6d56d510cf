//! Builds gateway configuration texts for tests. Changes with the keys of the configuration file.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value, json};

/// A configuration that binds every listener to a free port of the loopback address and keeps everything in memory.
#[derive(Debug, Clone)]
pub struct Config {
    sections: Map<String, Value>,
    backends: Vec<Value>,
}

/// One entry of `backends`.
#[derive(Debug, Clone)]
pub struct Backend {
    value: Value,
}

impl Backend {
    /// A child process that speaks on its standard streams.
    pub fn stdio<S: AsRef<str>>(name: &str, command: &[S]) -> Self {
        let command: Vec<_> = command.iter().map(AsRef::as_ref).collect();
        Self { value: json!({ "name": name, "protocol": "stdio", "config": { "command": command } }) }
    }

    /// A server at a Streamable HTTP endpoint.
    pub fn http(name: &str, url: &str) -> Self {
        Self { value: json!({ "name": name, "protocol": "http", "config": { "base_url": url } }) }
    }

    /// A server at an event stream of 2024-11-05.
    pub fn sse(name: &str, url: &str) -> Self {
        Self { value: json!({ "name": name, "protocol": "sse", "config": { "base_url": url } }) }
    }

    /// A server at a WebSocket: `ws://…`.
    pub fn websocket(name: &str, url: &str) -> Self {
        Self { value: json!({ "name": name, "protocol": "websocket", "config": { "base_url": url } }) }
    }

    /// A server of which only the URL is known.
    pub fn url(name: &str, url: &str) -> Self {
        Self { value: json!({ "name": name, "config": { "base_url": url } }) }
    }

    /// Forces an era: `legacy` or `modern` (`auto` is the default).
    #[must_use]
    pub fn era(self, era: &str) -> Self {
        self.config("era", era.into())
    }

    /// Sets an environment variable of a child process.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.value["config"]["env"][key] = value.into();
        self
    }

    /// Sets the working directory of a child process.
    #[must_use]
    pub fn working_dir(self, dir: &Path) -> Self {
        let dir = dir.to_string_lossy().into_owned();
        self.config("working_dir", dir.into())
    }

    /// Sets any key of the entry's `config`.
    #[must_use]
    pub fn config(mut self, key: &str, value: Value) -> Self {
        self.value["config"][key] = value;
        self
    }

    /// Sets any key of the entry itself, such as `namespace`.
    #[must_use]
    pub fn key(mut self, key: &str, value: Value) -> Self {
        self.value[key] = value;
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// No backends yet.
    pub fn new() -> Self {
        let server = json!({
            "host": "127.0.0.1", "port": 0, "metrics_port": 0, "health_port": 0, "tls": { "enabled": false },
        });
        let logging = json!({ "level": "info", "format": "json" });
        let sections = [("version", json!(1)), ("server", server), ("logging", logging)];
        Self {
            sections: sections.map(|(key, value)| (key.to_owned(), value)).into_iter().collect(),
            backends: vec![],
        }
    }

    /// Adds a stdio backend.
    #[must_use]
    pub fn stdio<S: AsRef<str>>(self, name: &str, command: &[S]) -> Self {
        self.backend(Backend::stdio(name, command))
    }

    /// Adds a Streamable HTTP backend.
    #[must_use]
    pub fn http(self, name: &str, url: &str) -> Self {
        self.backend(Backend::http(name, url))
    }

    /// Adds a backend.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backends.push(backend.value);
        self
    }

    /// Sets one key of a section, for example `set("server", "port", 8443.into())`.
    #[must_use]
    pub fn set(mut self, section: &str, key: &str, value: Value) -> Self {
        self.sections.entry(section).or_insert_with(|| json!({}))[key] = value;
        self
    }

    /// The file's text: YAML whose leaves are JSON.
    pub fn to_yaml(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.sections {
            let _ = writeln!(text, "{key}: {value}");
        }
        text.push_str("backends:\n");
        for backend in &self.backends {
            let _ = writeln!(text, "  - {backend}");
        }
        text
    }
}
