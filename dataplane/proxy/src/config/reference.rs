//! The key tables of docs/configuration.md. Changes when the page should say more.

use serde_json::Value;

use super::shape::{Key, Shape, Status};

/// One table per section, the whole file first. A section that occurs again refers to its first place.
pub(crate) fn of(keys: &[Key]) -> String {
    let mut page = Page { out: String::new(), tables: Vec::new() };
    page.section(keys, "");
    page.out
}

struct Page {
    out: String,
    /// Tables so far with their titles.
    tables: Vec<(String, String)>,
}

impl Page {
    fn section(&mut self, keys: &[Key], path: &str) {
        let title = if path.is_empty() { "Top level".to_owned() } else { format!("`{path}`") };
        let table = table(keys);
        if let Some((_, first)) = self.tables.iter().find(|(other, _)| *other == table) {
            self.out.extend(["### ", &title, "\n\nThe same keys as ", first, ".\n\n"]);
            return;
        }
        self.out.extend(["### ", &title, "\n\n", &table, "\n"]);
        self.tables.push((table, title));
        for key in keys {
            let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
            self.nested(&key.shape, &path);
        }
    }

    fn nested(&mut self, shape: &Shape, path: &str) {
        match shape {
            Shape::Section(keys) => self.section(&keys(), path),
            Shape::List(item) => self.nested(item, &format!("{path}[]")),
            Shape::Map(value) => self.nested(value, &format!("{path}.<name>")),
            // The other forms hold the same keys.
            Shape::OneOf(forms) => {
                if let Some(form) = forms.iter().find(|form| !matches!(form, Shape::Text { .. })) {
                    self.nested(form, path);
                }
            }
            Shape::Text { .. } | Shape::CommaList(_) | Shape::Anything => {}
        }
    }
}

fn table(keys: &[Key]) -> String {
    let mut table = "| key | type | default | status | meaning |\n|---|---|---|---|---|\n".to_owned();
    for key in keys {
        let doc = key.doc.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        let default = key.default.as_ref().map(default).unwrap_or_default();
        let cells = [&format!("`{}`", key.name), &kind(&key.shape), &default, status(key.status), doc.trim()];
        table.extend(["| ", &cells.join(" | "), " |\n"]);
    }
    table
}

fn kind(shape: &Shape) -> String {
    match shape {
        Shape::Text { name, schema } => match schema.get("enum").and_then(Value::as_array) {
            Some(names) => {
                let mut names: Vec<String> = names.iter().map(default).collect();
                // A text and a number that read the same are two entries of the schema.
                let mut seen = std::collections::HashSet::new();
                names.retain(|name| seen.insert(name.clone()));
                names.join(", ")
            }
            None => (*name).to_owned(),
        },
        Shape::List(item) => format!("list of {}", plural(item)),
        Shape::CommaList(item) => format!("list of {}, or one text with commas", plural(item)),
        Shape::Map(value) => format!("map of {}", plural(value)),
        Shape::Section(_) => "section".to_owned(),
        Shape::OneOf(forms) => forms.iter().map(kind).collect::<Vec<_>>().join(" or "),
        Shape::Anything => "any".to_owned(),
    }
}

fn plural(shape: &Shape) -> String {
    match shape {
        Shape::Anything => "anything".to_owned(),
        Shape::OneOf(_) | Shape::List(_) | Shape::Map(_) => format!("({})", kind(shape)),
        other => format!("{}s", kind(other)),
    }
}

fn default(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "`\"\"`".to_owned(),
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Works => "works",
        Status::NotYet(_) | Status::NotYetQuiet => "not yet",
        Status::NoEffect(_) => "no effect",
    }
}
