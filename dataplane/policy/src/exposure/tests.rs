use std::collections::BTreeMap;
use std::time::SystemTime;

use super::*;
use crate::principal::Grant;

fn exact(names: &[&str]) -> Vec<Pattern> {
    names.iter().map(|name| Pattern::Exact((*name).to_owned())).collect()
}

fn regex(patterns: &[&str]) -> Vec<Pattern> {
    patterns.iter().map(|pattern| Pattern::Regex((*pattern).to_owned())).collect()
}

fn tools(include: Option<Vec<Pattern>>, exclude: Vec<Pattern>) -> bridge_snapshot::Exposure {
    bridge_snapshot::Exposure {
        tools: bridge_snapshot::Filter { include, exclude },
        ..bridge_snapshot::Exposure::default()
    }
}

fn shown(rules: &bridge_snapshot::Exposure, names: &[&str]) -> Vec<String> {
    let exposure = Exposure::compile(rules).unwrap();
    names
        .iter()
        .filter(|name| exposure.original(ListKind::Tools, name).is_some())
        .map(ToString::to_string)
        .collect()
}

#[test]
fn without_rules_everything_is_shown() {
    let exposure = Exposure::compile(&bridge_snapshot::Exposure::default()).unwrap();
    assert!(exposure.is_open() && exposure.original(ListKind::Templates, "file:///{path}").is_some());
}

#[test]
fn what_is_excluded_stays_excluded_whatever_includes_it() {
    let names = ["read", "write", "wipe"];
    assert_eq!(shown(&tools(Some(exact(&["read", "wipe"])), exact(&["wipe"])), &names), ["read"]);
    assert_eq!(shown(&tools(None, regex(&["w.*"])), &names), ["read"]);
    assert_eq!(shown(&tools(Some(Vec::new()), Vec::new()), &names), [""; 0]);
}

#[test]
fn an_expression_matches_a_name_as_a_whole() {
    let names = ["get", "getPods", "forget", "get\n", "pods"];
    assert_eq!(shown(&tools(Some(regex(&["get"])), Vec::new()), &names), ["get"]);
    // The first alternative is not the longest one.
    assert_eq!(shown(&tools(Some(regex(&["get|getPods"])), Vec::new()), &names), ["get", "getPods"]);
    assert_eq!(shown(&tools(Some(regex(&["(?m)^get$"])), Vec::new()), &names), ["get"]);
}

#[test]
fn a_filter_counts_for_its_own_lists_only() {
    let exposure = Exposure::compile(&tools(Some(exact(&["a"])), Vec::new())).unwrap();
    assert!(exposure.shows_as_is(ListKind::Prompts) && exposure.original(ListKind::Prompts, "b").is_some());
    assert!(!exposure.shows_as_is(ListKind::Tools) && !exposure.is_open());
}

#[test]
fn an_expression_cannot_escape_from_its_group() {
    for pattern in ["(", "a)|(?:b", "(?x)a # ", "[z-a]", r"(a)\1"] {
        let error = Exposure::compile(&tools(None, regex(&[pattern]))).unwrap_err();
        assert_eq!(
            error,
            ExposureError::Regex { field: "tools.exclude".to_owned(), pattern: pattern.to_owned() }
        );
    }
}

#[test]
fn expressions_have_a_size() {
    let huge = regex(&[r"(\w{200}){10}"; 100]);
    assert!(Exposure::compile(&tools(Some(huge), Vec::new())).is_err());
}

fn guarded(scopes: &[&str]) -> Result<Exposure, ExposureError> {
    let scopes = scopes.iter().map(ToString::to_string).collect();
    Exposure::compile(&bridge_snapshot::Exposure {
        required_scopes: BTreeMap::from([("wipe".to_owned(), scopes)]),
        ..bridge_snapshot::Exposure::default()
    })
}

fn bearer(scopes: &[&str]) -> Principal {
    Principal::authenticated(Grant {
        issuer: "idp".to_owned(),
        subject: "alice".to_owned(),
        scopes: scopes.iter().map(ToString::to_string).collect(),
        expires_at: SystemTime::UNIX_EPOCH,
        token_id: None,
        rate_limit: None,
    })
}

#[test]
fn a_guarded_tool_needs_every_scope() {
    let exposure = guarded(&["disk.write", "admin"]).unwrap();
    let all = ["disk.write".to_owned(), "admin".to_owned()];
    assert_eq!(exposure.lacking("wipe", &bearer(&["admin", "disk.write", "other"])), None);
    assert_eq!(exposure.lacking("wipe", &bearer(&["admin"])), Some(&all[..]));
    assert_eq!(exposure.lacking("wipe", &Principal::anonymous()), Some(&all[..]));
    assert_eq!(exposure.lacking("read", &Principal::anonymous()), None);
    // Hidden is another thing than guarded.
    assert!(exposure.original(ListKind::Tools, "wipe").is_some() && !exposure.is_open());
}

#[test]
fn a_scope_must_fit_into_a_challenge() {
    for scope in ["", "a b", "a\"", "a\\", "ä", "a\n"] {
        assert!(matches!(guarded(&[scope]), Err(ExposureError::Scope { .. })), "{scope:?}");
    }
}

fn override_of(name: &str, new: &str) -> (String, ToolOverride) {
    (name.to_owned(), ToolOverride { name: Some(new.to_owned()), ..ToolOverride::default() })
}

fn renaming(overrides: &[(&str, &str)]) -> Result<Exposure, ExposureError> {
    Exposure::compile(&bridge_snapshot::Exposure {
        overrides: overrides.iter().map(|(name, new)| override_of(name, new)).collect(),
        ..tools(None, exact(&["hidden"]))
    })
}

fn presented(exposure: &Exposure, name: &str) -> Option<String> {
    let item = Item::read(ListKind::Tools, format!(r#"{{"name":"{name}"}}"#).into()).unwrap();
    exposure.present(ListKind::Tools, item).map(|item| item.key.into())
}

#[test]
fn a_renamed_tool_is_known_by_its_new_name_alone() {
    let exposure = renaming(&[("a", "b"), ("hidden", "shown"), ("c", "c")]).unwrap();
    assert_eq!(presented(&exposure, "a").as_deref(), Some("b"));
    assert_eq!(exposure.original(ListKind::Tools, "b"), Some("a"));
    assert_eq!(exposure.original(ListKind::Tools, "a"), None);
    assert_eq!(
        (presented(&exposure, "c").as_deref(), exposure.original(ListKind::Tools, "c")),
        (Some("c"), Some("c"))
    );
    // The server's own `b` has lost its name.
    assert_eq!(presented(&exposure, "b"), None);
    // Filters mean the name that the server knows.
    assert_eq!((presented(&exposure, "hidden"), exposure.original(ListKind::Tools, "shown")), (None, None));
    // Prompts are not tools.
    assert_eq!(exposure.original(ListKind::Prompts, "a"), Some("a"));
}

#[test]
fn names_may_move_on_but_not_meet() {
    let exposure = renaming(&[("a", "b"), ("b", "c")]).unwrap();
    assert_eq!((presented(&exposure, "a"), presented(&exposure, "b")), (Some("b".into()), Some("c".into())));
    assert_eq!(exposure.original(ListKind::Tools, "b"), Some("a"));
    assert_eq!(exposure.original(ListKind::Tools, "c"), Some("b"));
    let error = renaming(&[("a", "c"), ("b", "c")]).unwrap_err();
    assert_eq!(error, ExposureError::Renamed { name: "c".to_owned() });
}
