//! Which namespaces a gateway admits, and which labels it asks for: read once, asked about often. Changes when there is
//! another way to choose them.

use std::collections::BTreeMap;

use bridge_api::v1alpha1::common::{Namespaces, NamespacesFrom};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt as _};

use crate::world::World;

/// The namespaces that a gateway admits. Its own is always one of them.
#[derive(Debug)]
pub(super) struct Admitted<'a> {
    world: &'a World,
    own: &'a str,
    others: Others<'a>,
}

#[derive(Debug)]
enum Others<'a> {
    None,
    Labelled(Option<Labels>),
    Named(&'a [String]),
    All,
}

impl<'a> Admitted<'a> {
    /// Those that a gateway in `own` admits.
    pub(super) fn of(world: &'a World, own: &'a str, namespaces: Option<&'a Namespaces>) -> Self {
        let others = namespaces.map_or(Others::None, |admitted| match admitted.from {
            NamespacesFrom::Same => Others::None,
            NamespacesFrom::Selector => Others::Labelled(admitted.selector.as_ref().map(Labels::of)),
            NamespacesFrom::Names => Others::Named(admitted.names.as_deref().unwrap_or_default()),
            NamespacesFrom::All => Others::All,
        });
        Self { world, own, others }
    }

    /// Whether this namespace is one of them.
    pub(super) fn has(&self, namespace: &str) -> bool {
        namespace == self.own
            || match &self.others {
                Others::None => false,
                Others::Labelled(wanted) => {
                    let labels = self.world.namespaces.get(namespace);
                    wanted.as_ref().zip(labels).is_some_and(|(wanted, labels)| wanted.are_in(labels))
                }
                Others::Named(patterns) => patterns.iter().any(|pattern| fits(pattern, namespace)),
                Others::All => true,
            }
    }
}

/// Labels that something must have.
#[derive(Debug)]
pub(super) struct Labels(Option<Selector>);

impl Labels {
    /// Those of a selector. One that cannot be read selects nothing.
    pub(super) fn of(selector: &LabelSelector) -> Self {
        Self(Selector::try_from(selector.clone()).ok())
    }

    /// Whether something with these labels has them.
    pub(super) fn are_in(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.as_ref().is_some_and(|selector| selector.matches(labels))
    }
}

/// Whether a name fits a pattern, in which `*` stands for any run of characters. The time is linear in their lengths for
/// each `*`: both are bounded.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let inner = name.strip_prefix(first).and_then(|name| name.strip_suffix(last));
    let Some(mut left) = inner else { return false };
    // Where a part occurs first, most is left for the parts after it.
    middle.split('*').all(|part| {
        let found = left.split_once(part);
        left = found.map_or("", |(_, after)| after);
        found.is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters_and_nothing_else_for_more_than_itself() {
        for (pattern, names) in [
            ("team-a", &["team-a"][..]),
            ("team-*", &["team-", "team-a", "team-a-b", "team-team-"]),
            ("*-dev", &["a-dev", "-dev", "dev-dev"]),
            ("*", &["", "a", "kube-system"]),
            ("a*a", &["aa", "aba", "aaa"]),
            ("a*b*c", &["abc", "a-b-c", "abcbc", "axbbcxc"]),
            ("*ab*ab*", &["abab", "xabxabx", "aabab"]),
            ("**", &["", "a"]),
        ] {
            for name in names {
                assert!(fits(pattern, name), "{pattern} {name}");
            }
        }
        for (pattern, names) in [
            ("team-a", &["team-b", "team-a2", "my-team-a", ""][..]),
            ("team-*", &["team", "my-team-a", "TEAM-a"]),
            ("*-dev", &["dev", "a-dev-2"]),
            ("a*a", &["a", "ab", "ba"]),
            ("a*b*c", &["ac", "acb", "abd", "acbcd"]),
            ("*ab*ab*", &["ab", "aba", "abxa"]),
        ] {
            for name in names {
                assert!(!fits(pattern, name), "{pattern} {name}");
            }
        }
    }
}
