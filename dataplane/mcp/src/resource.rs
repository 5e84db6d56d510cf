//! Whose a resource URI is, judged by the resources and URI templates that backends list.
//! Changes when ownership of URIs on the merged endpoint is decided differently.

mod template;

use std::collections::HashMap;

use template::Template;

/// What one backend lists.
#[derive(Debug, Clone, Copy, Default)]
pub struct BackendResources<'a> {
    /// URIs of its resources.
    pub uris: &'a [&'a str],
    /// Its URI templates (RFC 6570).
    pub templates: &'a [&'a str],
}

/// Whose a URI is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// This backend lists the URI itself. Of several, the first in order.
    Listed(usize),
    /// This backend has a template that the URI matches. Of several, the first in order.
    Template(usize),
    /// Nobody lists it. Servers may serve unlisted URIs, so the caller may ask them in order.
    Unknown,
}

/// The resources and templates of all backends.
#[derive(Debug, Default)]
pub struct ResourceTable {
    listed: HashMap<Box<str>, usize>,
    templates: Vec<(usize, Template)>,
    template_owners: HashMap<Box<str>, usize>,
    unusable: Vec<UnusableTemplate>,
}

/// A template that matches nothing because it cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableTemplate {
    /// Position of its backend.
    pub backend: usize,
    /// The template.
    pub template: Box<str>,
}

impl ResourceTable {
    /// Builds the table; the position of a backend in `backends` is its number.
    pub fn build(backends: &[BackendResources<'_>]) -> Self {
        let mut table = Self::default();
        for (backend, resources) in backends.iter().enumerate() {
            for uri in resources.uris {
                table.listed.entry((*uri).into()).or_insert(backend);
            }
            for text in resources.templates {
                table.template_owners.entry((*text).into()).or_insert(backend);
                match Template::parse(text) {
                    Some(template) => table.templates.push((backend, template)),
                    None => table.unusable.push(UnusableTemplate { backend, template: (*text).into() }),
                }
            }
        }
        table
    }

    /// Whose `uri` is.
    pub fn owner(&self, uri: &str) -> Ownership {
        if let Some(backend) = self.listed.get(uri) {
            return Ownership::Listed(*backend);
        }
        let matching = self.templates.iter().find(|(_, template)| template.matches(uri));
        matching.map_or(Ownership::Unknown, |(backend, _)| Ownership::Template(*backend))
    }

    /// Whose a completion reference (`ref/resource`) is: it may name a template itself or a URI.
    pub fn owner_of_reference(&self, uri: &str) -> Ownership {
        match self.template_owners.get(uri) {
            Some(backend) => Ownership::Template(*backend),
            None => self.owner(uri),
        }
    }

    /// Templates that could not be read.
    pub fn unusable(&self) -> &[UnusableTemplate] {
        &self.unusable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ResourceTable {
        ResourceTable::build(&[
            BackendResources { uris: &["file:///a", "test://x/1/data"], templates: &["test://x/{id}/data"] },
            BackendResources {
                uris: &["file:///a", "file:///b"],
                templates: &["file:///{+path}", "test://x/{id}/{kind}"],
            },
            BackendResources { uris: &[], templates: &["bad://{", "test://y/{id}"] },
        ])
    }

    #[test]
    fn a_listed_uri_goes_to_the_first_backend_that_lists_it() {
        assert_eq!(table().owner("file:///a"), Ownership::Listed(0));
        assert_eq!(table().owner("file:///b"), Ownership::Listed(1));
    }

    #[test]
    fn an_unlisted_uri_goes_to_the_first_backend_whose_template_matches() {
        assert_eq!(table().owner("test://x/7/data"), Ownership::Template(0));
        assert_eq!(table().owner("test://x/7/name"), Ownership::Template(1));
        assert_eq!(table().owner("file:///c/d"), Ownership::Template(1));
        assert_eq!(table().owner("test://y/1"), Ownership::Template(2));
        assert_eq!(table().owner("test://y/1/2"), Ownership::Unknown);
    }

    #[test]
    fn a_completion_may_name_the_template_itself() {
        assert_eq!(table().owner_of_reference("test://x/{id}/{kind}"), Ownership::Template(1));
        assert_eq!(table().owner_of_reference("file:///b"), Ownership::Listed(1));
    }

    #[test]
    fn a_template_that_cannot_be_read_is_reported_and_spoils_nothing() {
        let unusable = UnusableTemplate { backend: 2, template: "bad://{".into() };
        assert_eq!(table().unusable(), [unusable]);
        assert_eq!(table().owner("bad://x"), Ownership::Unknown);
    }
}
