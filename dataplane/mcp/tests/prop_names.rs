//! Names on the merged endpoint: one name, one owner; the same input gives the same names; strangers change nothing.

use std::collections::{BTreeSet, HashMap};

use bridge_mcp::names::{BackendNames, NameTable, Naming, Resolution};
use proptest::prelude::*;

type Backend = (String, Vec<String>);

fn build(naming: Naming, backends: &[Backend], sticky: &BTreeSet<String>) -> NameTable {
    let names: Vec<Vec<&str>> =
        backends.iter().map(|(_, names)| names.iter().map(String::as_str).collect()).collect();
    let backends: Vec<_> =
        backends.iter().zip(&names).map(|((prefix, _), names)| BackendNames { prefix, names }).collect();
    NameTable::build(naming, &backends, sticky)
}

fn naming() -> impl Strategy<Value = Naming> {
    prop_oneof![Just(Naming::Never), Just(Naming::OnConflict), Just(Naming::Always)]
}

/// Few letters and many underscores, so that names collide often; some too long or outside the safe characters.
fn backends() -> impl Strategy<Value = Vec<Backend>> {
    let name = prop_oneof![6 => "[ab_]{1,4}", 1 => "[a.é]{1,3}", 1 => "a{60,70}", 1 => "a__[ab]"];
    let prefix = prop_oneof![6 => "[ab]{1,2}", 1 => "[ab_.]{0,3}", 1 => "a{50,66}"];
    prop::collection::vec((prefix, prop::collection::vec(name, 0..6)), 0..5)
}

fn sticky() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set("[ab_]{1,2}", 0..3)
}

proptest! {
    #[test]
    fn one_name_has_one_owner(naming in naming(), backends in backends(), sticky in sticky()) {
        let table = build(naming, &backends, &sticky);
        let mut shown = HashMap::new();
        for (backend, (_, names)) in backends.iter().enumerate() {
            for name in names {
                let prefixed = table.prefixed(backend, name).unwrap();
                for exposed in table.exposed(backend, name).into_iter().chain([prefixed]) {
                    let Resolution::Owner(owner) = table.resolve(exposed) else { panic!("{exposed}") };
                    prop_assert_eq!((owner.backend, &*owner.original), (backend, name.as_str()));
                    let other = shown.insert(exposed.to_owned(), (backend, name.clone()));
                    prop_assert!(other.is_none_or(|other| other == (backend, name.clone())));
                }
                let exposed = table.exposed(backend, name);
                prop_assert!(exposed.is_some() || naming == Naming::Never);
                if naming != Naming::Never {
                    prop_assert!(exposed.unwrap().chars().count() <= 64);
                }
            }
        }
    }

    #[test]
    fn the_same_input_gives_the_same_names(naming in naming(), backends in backends(), sticky in sticky()) {
        let (one, two) = (build(naming, &backends, &sticky), build(naming, &backends, &sticky));
        for (backend, (_, names)) in backends.iter().enumerate() {
            for name in names {
                prop_assert_eq!(one.exposed(backend, name), two.exposed(backend, name));
                prop_assert_eq!(one.prefixed(backend, name), two.prefixed(backend, name));
            }
        }
    }

    #[test]
    fn a_stranger_changes_no_name(
        naming in naming(), backends in backends(), sticky in sticky(), at in any::<prop::sample::Index>(),
        names in prop::collection::vec("[c-e]{1,3}", 0..5),
    ) {
        let table = build(naming, &backends, &sticky);
        let mut more = backends.clone();
        let at = at.index(backends.len() + 1);
        more.insert(at, ("stranger".to_owned(), names));
        let grown = build(naming, &more, &sticky);
        for (backend, (_, names)) in backends.iter().enumerate() {
            let moved = if backend < at { backend } else { backend + 1 };
            for name in names {
                prop_assert_eq!(table.exposed(backend, name), grown.exposed(moved, name));
                prop_assert_eq!(table.prefixed(backend, name), grown.prefixed(moved, name));
            }
        }
    }

    #[test]
    fn the_order_of_backends_changes_no_name(
        naming in prop_oneof![Just(Naming::OnConflict), Just(Naming::Always)], backends in backends(), sticky in sticky()
    ) {
        let prefixes: BTreeSet<_> = backends.iter().map(|(prefix, _)| prefix).collect();
        prop_assume!(prefixes.len() == backends.len());
        let reversed: Vec<_> = backends.iter().rev().cloned().collect();
        let (one, other) = (build(naming, &backends, &sticky), build(naming, &reversed, &sticky));
        for (backend, (_, names)) in backends.iter().enumerate() {
            for name in names {
                let there = backends.len() - 1 - backend;
                prop_assert_eq!(one.exposed(backend, name), other.exposed(there, name));
                prop_assert_eq!(one.prefixed(backend, name), other.prefixed(there, name));
            }
        }
    }

    #[test]
    fn losing_a_backend_changes_no_name_that_was_in_conflict(backends in backends(), lost in any::<prop::sample::Index>()) {
        prop_assume!(!backends.is_empty());
        let lost = lost.index(backends.len());
        let table = build(Naming::OnConflict, &backends, &BTreeSet::new());
        let sticky = table.conflicts().map(str::to_owned).collect();
        let mut fewer = backends.clone();
        fewer[lost].1.clear();
        let after = build(Naming::OnConflict, &fewer, &sticky);
        for (backend, (prefix, names)) in fewer.iter().enumerate() {
            // Equal prefixes are a mistake of the operator; there the later backend's names depend on the earlier's.
            if backends.iter().filter(|(other, _)| other == prefix).count() > 1 {
                continue;
            }
            for name in names {
                prop_assert_eq!(table.exposed(backend, name), after.exposed(backend, name));
            }
        }
    }
}
