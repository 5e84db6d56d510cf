//! Arguments that a tool wants mirrored into HTTP headers (`x-mcp-header`): reading the annotations, checking a request
//! against them, writing the headers. Changes when the rules for annotated parameters change.
//!
//! Source: MCP 2026-07-28, "Streamable HTTP: custom headers from tool parameters".

mod arguments;
mod value;

use std::collections::HashSet;

use memchr::memmem;
use serde_json::{Map, Value};

use crate::limits::Limits;
use crate::scan::{Scanner, decode_string};

pub use arguments::{ArgumentsError, Mismatch, Reason, Sent};
pub(crate) use value::whole_number;
pub use value::{decode_value, encode_value};

/// What every such header starts with.
pub const PREFIX: &str = "Mcp-Param-";

const ANNOTATION: &str = "x-mcp-header";

/// Annotations that one tool may have. Peers accept about a hundred headers in one request.
const MAX_PARAMS: usize = 64;

/// Nesting that `serde_json` reads.
const MAX_DEPTH: usize = 128;

/// The annotated parameters of one tool, in no particular order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParamHeaders {
    params: Vec<Param>,
}

/// One annotated parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Full header name, `Mcp-Param-` included, spelled as annotated.
    pub header: Box<str>,
    /// Property names from `arguments` to the value.
    pub path: Vec<Box<str>>,
}

/// Why a tool definition is invalid for clients on Streamable HTTP, which must leave it out of their list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The definition could not be read.
    #[error("the tool definition is no JSON object of at most {MAX_DEPTH} levels")]
    Unreadable,
    /// The annotation is not a string.
    #[error("`x-mcp-header` at `{at}` must be a string")]
    NotText {
        /// Dotted path of the property.
        at: String,
    },
    /// The annotation is not an HTTP token.
    #[error("`x-mcp-header` at `{at}` must be a non-empty HTTP token")]
    NotToken {
        /// Dotted path of the property.
        at: String,
    },
    /// Two annotations differ at most in case.
    #[error("`x-mcp-header` at `{at}` repeats the header of another parameter")]
    Repeated {
        /// Dotted path of the second property.
        at: String,
    },
    /// The annotated property is not a string, an integer or a boolean.
    #[error("`x-mcp-header` at `{at}` needs `type` string, integer or boolean")]
    NotPrimitive {
        /// Dotted path of the property.
        at: String,
    },
    /// The annotation cannot be reached from the root through `properties` alone.
    #[error("`x-mcp-header` below `{at}` is not reached through `properties` alone")]
    Unreachable {
        /// Dotted path of the nearest reachable property.
        at: String,
    },
    /// More annotations than one request can carry as headers.
    #[error("more than {MAX_PARAMS} `x-mcp-header` annotations")]
    TooMany,
}

impl ParamHeaders {
    /// Reads the annotations of a tool definition (an item of `tools/list`).
    pub fn of_tool(tool: &[u8]) -> Result<Self, Violation> {
        // An escaped key may spell the annotation without its literal bytes.
        if memmem::find(tool, ANNOTATION.as_bytes()).is_none() && memmem::find(tool, b"\\u").is_none() {
            return Ok(Self::default());
        }
        let limits = Limits::backend(usize::MAX, MAX_DEPTH);
        let mut schema = None;
        Scanner::new(tool, &limits)
            .and_then(|mut scanner| {
                scanner.object(|scanner, key| {
                    let span = scanner.value()?;
                    if decode_string(key.of(tool)).as_deref() == Some("inputSchema") {
                        schema = Some(span);
                    }
                    Ok(())
                })
            })
            .map_err(|_| Violation::Unreadable)?;
        match schema {
            None => Ok(Self::default()),
            Some(span) => serde_json::from_slice(span.of(tool))
                .map_err(|_| Violation::Unreadable)
                .and_then(|schema| Self::of_schema(&schema)),
        }
    }

    /// Reads the annotations of a tool's `inputSchema`.
    pub fn of_schema(schema: &Value) -> Result<Self, Violation> {
        let mut walk = Walk::default();
        if let Value::Object(root) = schema {
            if root.contains_key(ANNOTATION) {
                return Err(Violation::Unreachable { at: String::new() });
            }
            walk.schema(root, true)?;
        }
        Ok(Self { params: walk.params })
    }

    /// The annotated parameters.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        self.params.is_empty()
    }
}

#[derive(Default)]
struct Walk<'a> {
    path: Vec<&'a str>,
    seen: HashSet<String>,
    params: Vec<Param>,
}

impl<'a> Walk<'a> {
    /// `reachable`: the schema is the root or lies behind `properties` alone.
    fn schema(&mut self, schema: &'a Map<String, Value>, reachable: bool) -> Result<(), Violation> {
        for (keyword, value) in schema {
            match keyword.as_str() {
                ANNOTATION if !reachable => return Err(Violation::Unreachable { at: self.at() }),
                ANNOTATION => self.annotation(schema, value)?,
                "properties" => self.properties(value, reachable)?,
                "$defs" | "definitions" | "dependentSchemas" | "patternProperties" => {
                    self.properties(value, false)?;
                }
                // Instance data, in which the word is only a word.
                "default" | "const" | "enum" | "examples" => {}
                _ => self.elsewhere(value)?,
            }
        }
        Ok(())
    }

    fn properties(&mut self, map: &'a Value, reachable: bool) -> Result<(), Violation> {
        for (name, value) in map.as_object().into_iter().flatten() {
            let Value::Object(schema) = value else { continue };
            if reachable {
                self.path.push(name);
            }
            self.schema(schema, reachable)?;
            if reachable {
                self.path.pop();
            }
        }
        Ok(())
    }

    fn elsewhere(&mut self, value: &'a Value) -> Result<(), Violation> {
        match value {
            Value::Object(schema) => self.schema(schema, false),
            Value::Array(items) => items.iter().try_for_each(|item| self.elsewhere(item)),
            _ => Ok(()),
        }
    }

    fn annotation(&mut self, schema: &Map<String, Value>, name: &Value) -> Result<(), Violation> {
        let Value::String(name) = name else {
            return Err(Violation::NotText { at: self.at() });
        };
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(Violation::NotToken { at: self.at() });
        }
        if !matches!(schema.get("type").and_then(Value::as_str), Some("string" | "integer" | "boolean")) {
            return Err(Violation::NotPrimitive { at: self.at() });
        }
        if !self.seen.insert(name.to_ascii_lowercase()) {
            return Err(Violation::Repeated { at: self.at() });
        }
        if self.params.len() == MAX_PARAMS {
            return Err(Violation::TooMany);
        }
        let path = self.path.iter().map(|&name| name.into()).collect();
        self.params.push(Param { header: format!("{PREFIX}{name}").into(), path });
        Ok(())
    }

    fn at(&self) -> String {
        self.path.join(".")
    }
}

/// `tchar` of RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
