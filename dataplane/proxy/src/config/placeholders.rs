//! Finds `${NAME}` in values: it is not expanded, and its author thinks it is. Changes when placeholders get a meaning.

use super::decode::{At, Context, Problem};
use super::yaml::{Node, Value};

/// Warns of every value that looks like a reference to the environment.
pub(crate) fn warn(node: &Node, at: &At, cx: &mut Context<'_>) {
    match &node.value {
        Value::Null => {}
        Value::Scalar(text) => {
            if let Some(name) = placeholder(text) {
                let problem =
                    Problem::new(format!("`${{{name}}}` is not expanded: the text is taken as it stands"));
                let remedy = "use a `MCP_GATEWAY_…` variable, or `{env: NAME}` under `env` and `headers`";
                cx.warn(at, problem.remedy(remedy));
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                warn(item, &at.item(index, item.position.clone()), cx);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                warn(&entry.value, &at.child(&entry.key, entry.value.position.clone()), cx);
            }
        }
    }
}

/// The name in the first `${NAME}` or `${NAME…}`.
fn placeholder(text: &str) -> Option<&str> {
    text.match_indices("${").find_map(|(start, _)| {
        let rest = text.get(start + 2..)?;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
        let (name, tail) = rest.split_at(end);
        let valid = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
        (valid && tail.contains('}')).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_references_count() {
        assert_eq!(placeholder("Bearer ${TOKEN}"), Some("TOKEN"));
        assert_eq!(placeholder("${TOKEN:-hunter2}"), Some("TOKEN"));
        assert_eq!(placeholder("${} ${1X} ${OK}"), Some("OK"));
        for text in ["", "$TOKEN", "${", "${TOKEN", "${TOK EN", "{TOKEN}", "$ {TOKEN}"] {
            assert_eq!(placeholder(text), None, "{text}");
        }
    }
}
