//! What a client can be asked, as far as it crosses generations. Changes when a revision adds a kind of question.
//!
//! A closed set: whatever a client declares becomes one of few values, so that what is pooled or compared by it is
//! bounded.

use super::members::Object;
use crate::version::Version;

/// Questions that a client declared it can answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Capabilities {
    pub(super) roots: bool,
    pub(super) sampling: bool,
    pub(super) sampling_context: bool,
    pub(super) sampling_tools: bool,
    pub(super) form: bool,
    pub(super) url: bool,
}

impl Capabilities {
    /// Everything that can be asked.
    pub(super) const ALL: Self = Self {
        roots: true,
        sampling: true,
        sampling_context: true,
        sampling_tools: true,
        form: true,
        url: true,
    };

    /// Reads a declaration. An `elicitation` that names no mode means forms (2025-11-25, "Elicitation").
    pub(super) fn read(raw: &[u8]) -> Self {
        let Some(declared) = Object::whole(raw) else { return Self::default() };
        let sampling = declared.object("sampling");
        let elicitation = declared.object("elicitation");
        let has = |object: &Option<Object<'_>>, key| {
            object.as_ref().is_some_and(|object| object.object(key).is_some())
        };
        let url = has(&elicitation, "url");
        Self {
            roots: declared.object("roots").is_some(),
            sampling: sampling.is_some(),
            sampling_context: has(&sampling, "context"),
            sampling_tools: has(&sampling, "tools"),
            form: has(&elicitation, "form") || (elicitation.is_some() && !url),
            url,
        }
    }

    /// The part that `version` has a form for.
    pub(super) fn of(self, version: Version) -> Self {
        let newest = version >= Version::V2025_11_25;
        Self {
            sampling_context: self.sampling_context && newest,
            sampling_tools: self.sampling_tools && newest,
            form: (self.form || (self.url && !newest)) && version >= Version::V2025_06_18,
            url: self.url && newest,
            ..self
        }
    }

    /// As a declaration, the same bytes for the same set.
    pub(super) fn to_json(self) -> String {
        let object = |members: &[(&str, bool)]| {
            let present: Vec<_> =
                members.iter().filter(|(_, has)| *has).map(|(key, _)| format!("\"{key}\":{{}}")).collect();
            format!("{{{}}}", present.join(","))
        };
        let mut members = Vec::new();
        if self.form || self.url {
            members.push(format!("\"elicitation\":{}", object(&[("form", self.form), ("url", self.url)])));
        }
        if self.roots {
            members.push("\"roots\":{}".to_owned());
        }
        if self.sampling {
            let parts = [("context", self.sampling_context), ("tools", self.sampling_tools)];
            members.push(format!("\"sampling\":{}", object(&parts)));
        }
        format!("{{{}}}", members.join(","))
    }
}
