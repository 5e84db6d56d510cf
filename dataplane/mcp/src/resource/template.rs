//! Matching URIs against URI templates.
//! Changes when more of RFC 6570 has to be told apart.

/// Longest template that is read, and longest URI that is matched, in bytes. They bound the work of one look-up, which
/// is at most their product per template.
const MAX_TEMPLATE: usize = 1024;
const MAX_URI: usize = 4096;

/// A template, cut into what a URI must spell and what it may fill in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    /// `{var}`: at least one character, no slash.
    Segment,
    /// `{+var}` and the operators that expand to delimiters of their own (`#./;?&`): anything, also nothing.
    Any,
}

impl Template {
    /// Reads a template of RFC 6570; expressions are told apart by operator only. `None` when braces do not pair, an
    /// expression is empty, or it is too long.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_TEMPLATE {
            return None;
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once('{') {
            let (expression, tail) = tail.split_once('}')?;
            push_literal(&mut parts, literal)?;
            let part = match expression.strip_prefix(['+', '#', '.', '/', ';', '?', '&']) {
                Some(variables) if !variables.is_empty() => Part::Any,
                None if !expression.is_empty() => Part::Segment,
                _ => return None,
            };
            if expression.contains('{') {
                return None;
            }
            parts.push(part);
            rest = tail;
        }
        push_literal(&mut parts, rest)?;
        Some(Self { parts })
    }

    /// Whether some values of its variables give `uri`.
    pub(super) fn matches(&self, uri: &str) -> bool {
        let uri = uri.as_bytes();
        if uri.len() > MAX_URI || !self.starts(uri) {
            return false;
        }
        // Offsets in the URI that the parts so far can end at.
        let mut ends = vec![false; uri.len() + 1];
        if let Some(start) = ends.first_mut() {
            *start = true;
        }
        for part in &self.parts {
            ends = part.step(uri, &ends);
        }
        ends.last() == Some(&true)
    }

    /// Quick check that spares most templates the matching.
    fn starts(&self, uri: &[u8]) -> bool {
        match self.parts.first() {
            Some(Part::Literal(literal)) => uri.starts_with(literal.as_bytes()),
            _ => true,
        }
    }
}

impl Part {
    fn step(&self, uri: &[u8], ends: &[bool]) -> Vec<bool> {
        let mut next = vec![false; ends.len()];
        match self {
            Self::Literal(literal) => {
                let literal = literal.as_bytes();
                let reached = ends.iter().enumerate().filter(|(_, reached)| **reached);
                for (at, _) in reached {
                    if uri.get(at..).is_some_and(|rest| rest.starts_with(literal))
                        && let Some(end) = next.get_mut(at + literal.len())
                    {
                        *end = true;
                    }
                }
            }
            Self::Segment => {
                let mut open = false;
                for ((byte, end), reached) in uri.iter().zip(next.iter_mut().skip(1)).zip(ends) {
                    open = (open || *reached) && *byte != b'/';
                    *end = open;
                }
            }
            Self::Any => {
                let mut open = false;
                for (end, reached) in next.iter_mut().zip(ends) {
                    open |= *reached;
                    *end = open;
                }
            }
        }
        next
    }
}

fn push_literal(parts: &mut Vec<Part>, literal: &str) -> Option<()> {
    if literal.contains('}') {
        return None;
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into()));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(template: &str, uri: &str) -> bool {
        Template::parse(template).unwrap().matches(uri)
    }

    #[test]
    fn simple_variables_fill_one_segment() {
        assert!(matches("test://template/{id}/data", "test://template/123/data"));
        assert!(!matches("test://template/{id}/data", "test://template//data"));
        assert!(!matches("test://template/{id}/data", "test://template/1/2/data"));
        assert!(!matches("test://template/{id}/data", "test://template/1/data/x"));
        assert!(matches("{a}://{b}-{c}.txt", "x://1-2-3.txt"));
        assert!(matches("a{x}a{y}a", "aaaaa"));
        assert!(!matches("a{x}a{y}a", "aaaa"));
    }

    #[test]
    fn reserved_variables_fill_anything() {
        assert!(matches("file:///{+path}", "file:///a/b/c"));
        assert!(matches("file:///{+path}", "file:///"));
        assert!(matches("file:///{+path}.rs", "file:///a.rs/b.rs"));
        assert!(!matches("file:///{+path}.rs", "file:///a.rs/b"));
        assert!(matches("db://t{?limit,offset}", "db://t?limit=1"));
        assert!(matches("db://t{/id}{#part}", "db://t/1#x"));
        assert!(!matches("db://t{?limit}", "db://u"));
    }

    #[test]
    fn a_template_without_variables_matches_itself_only() {
        assert!(matches("a://b", "a://b"));
        assert!(!matches("a://b", "a://bc"));
        assert!(!matches("a://bc", "a://b"));
    }

    #[test]
    fn broken_templates_are_refused() {
        for template in ["{", "}", "a{b", "a}b", "{}", "{+}", "{a{b}}", &"a".repeat(MAX_TEMPLATE + 1)] {
            assert_eq!(Template::parse(template), None, "{template}");
        }
    }

    #[test]
    fn matching_is_bounded() {
        let template = format!("{}b", "{+a}a".repeat(200));
        assert!(!matches(&template, &"a".repeat(MAX_URI)));
        assert!(!matches("{+a}", &"a".repeat(MAX_URI + 1)));
    }
}
