use std::collections::BTreeSet;

use bytes::BytesMut;
use serde_json::{Value, json};

use super::*;
use crate::names::{BackendNames, NameTable, Naming};

const LIMITS: ListLimits = ListLimits { max_bytes: 1 << 16, max_depth: 20, max_items: 5 };
const ALL: PageLimits = PageLimits { max_items: usize::MAX, max_bytes: usize::MAX };

fn tools(result: &str) -> Result<ListPage, ListError> {
    items_from_result(result.as_bytes(), ListKind::Tools, &LIMITS)
}

fn items(kind: ListKind, raw: &[&str]) -> Vec<Item> {
    let result = format!(r#"{{"{}":[{}]}}"#, kind.member(), raw.join(","));
    items_from_result(result.as_bytes(), kind, &LIMITS).unwrap().items
}

fn text(list: &MergedList, page: &Page, cursor: Option<&str>, modern: Option<ModernFields<'_>>) -> String {
    let mut out = BytesMut::new();
    list.write_result(&mut out, page, cursor, modern);
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn a_list_result_is_read_with_everything_that_belongs_to_it() {
    let page = tools(
        r#" {"_meta":{}, "tools" : [ {"name":"a" , "x":1e2}, {"d":{"name":"no"},"n\u0061me":"b\u0063"} ],
            "nextCursor":"","ttlMs":60000.0,"cacheScope":"public","resultType":"complete"} "#,
    )
    .unwrap();
    let found: Vec<_> = page.items.iter().map(|item| (&*item.key, item.raw.as_ref())).collect();
    let second = br#"{"d":{"name":"no"},"n\u0061me":"b\u0063"}"#;
    assert_eq!(found, [("a", &br#"{"name":"a" , "x":1e2}"#[..]), ("bc", second)]);
    assert_eq!(page.next_cursor.as_deref(), Some(""), "an empty cursor is a cursor");
    assert_eq!(page.hints, CacheHints { ttl_ms: Some(60_000), scope: Some(CacheScope::Public) });
    let page = tools(r#"{"tools":[],"nextCursor":null,"ttlMs":-1,"cacheScope":"team"}"#).unwrap();
    assert_eq!((page.next_cursor, page.hints), (None, CacheHints::default()));
}

#[test]
fn a_result_keeps_what_is_around_its_items() {
    let result = r#" {"_meta":{"tools":[1]}, "tools" : [ {"name":"a" , "x":1e2}, {"name":"b"}, 7,{"name":"c"} ],"nextCursor":"n"}"#;
    let rewritten = rewrite_items(result.as_bytes(), ListKind::Tools, &LIMITS, |item| {
        (&*item.key != "b").then_some(item.raw)
    });
    let expected =
        r#" {"_meta":{"tools":[1]}, "tools" : [{"name":"a" , "x":1e2},{"name":"c"}],"nextCursor":"n"}"#;
    assert_eq!(rewritten.unwrap(), expected);
    assert!(rewrite_items(b"{\"tools\":7}", ListKind::Tools, &LIMITS, |item| Some(item.raw)).is_err());
}

#[test]
fn a_bad_item_does_not_spoil_the_others() {
    let page = tools(
        r#"{"tools":[1,{"x":1},{"name":7},{"name":""},{"name":"a","name":"b"},{"name":"\ud800"},{"name":"ok"}]}"#,
    );
    let page = page.unwrap();
    assert_eq!(page.items.iter().map(|item| &*item.key).collect::<Vec<_>>(), ["ok"]);
    assert_eq!(page.skipped, 6);
}

#[test]
fn a_result_that_is_no_list_is_refused_with_the_reason() {
    let no_list = ListError::NoList { member: "tools" };
    for (result, error) in [
        ("[]", no_list.clone()),
        ("{}", no_list.clone()),
        (r#"{"tools":{}}"#, no_list),
        (r#"{"tools":[],"tools":[]}"#, ListError::Repeated { member: "tools" }),
        (r#"{"tools":[],"nextCursor":"a","nextCursor":"b"}"#, ListError::Repeated { member: "nextCursor" }),
        (r#"{"tools":[],"nextCursor":5}"#, ListError::Cursor),
        (r#"{"tools":[],"resultType":"input_required"}"#, ListError::Incomplete),
    ] {
        assert_eq!(tools(result), Err(error), "{result}");
    }
    for broken in ["", "{", r#"{"tools":[]} x"#, r#"{"tools":[{]}"#] {
        assert!(matches!(tools(broken), Err(ListError::Scan(_))), "{broken}");
    }
}

#[test]
fn a_list_beyond_its_bounds_is_refused() {
    let result = |count: usize| format!(r#"{{"tools":[{}]}}"#, vec![r#"{"name":"a"}"#; count].join(","));
    assert_eq!(tools(&result(5)).unwrap().items.len(), 5);
    assert_eq!(tools(&result(6)), Err(ListError::TooMany { max: 5 }));
    assert_eq!(tools(&result(600)), Err(ListError::TooMany { max: 5 }));
    assert!(matches!(tools(&" ".repeat(1 << 17)), Err(ListError::Scan(_))));
    let bomb = format!(r#"{{"tools":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    assert!(matches!(tools(&bomb), Err(ListError::Scan(_))));
}

#[test]
fn items_stay_as_they_are_but_for_renamed_names() {
    let one = items(
        ListKind::Tools,
        &[r#"{ "x":1.0e0,"name" : "read" }"#, r#"{"name":"li\u0073t","name2":"list"}"#],
    );
    let two = items(ListKind::Tools, &[r#"{"name":"list"}"#]);
    let backends = [
        BackendNames { prefix: "fs", names: &["read", "list"] },
        BackendNames { prefix: "git", names: &["list"] },
    ];
    let names = NameTable::build(Naming::OnConflict, &backends, &BTreeSet::new());
    let list = MergedList::build(ListKind::Tools, &[&one, &two], Some(&names));
    let page = list.page(0, ALL, |_| true);
    assert_eq!(
        text(&list, &page, None, None),
        r#"{"tools":[{ "x":1.0e0,"name" : "read" },{"name":"fs__list","name2":"list"},{"name":"git__list"}]}"#
    );
    assert_eq!(list.left_out(), []);
}

#[test]
fn of_equal_resources_the_first_is_served_and_the_rest_reported() {
    let one = items(ListKind::Resources, &[r#"{"uri":"a:1"}"#, r#"{"uri":"a:1","n":2}"#]);
    let two = items(ListKind::Resources, &[r#"{"uri":"a:2"}"#, r#"{"uri":"a:1","n":3}"#]);
    let list = MergedList::build(ListKind::Resources, &[&one, &two], None);
    let page = list.page(0, ALL, |_| true);
    assert_eq!(text(&list, &page, None, None), r#"{"resources":[{"uri":"a:1"},{"uri":"a:2"}]}"#);
    let left_out: Vec<_> = list.left_out().iter().map(|item| (item.backend, &*item.key)).collect();
    assert_eq!(left_out, [(0, "a:1"), (1, "a:1")]);
}

#[test]
fn modern_results_carry_what_the_revision_requires() {
    let list = MergedList::build(ListKind::Templates, &[], None);
    let hints = CacheHints { ttl_ms: Some(5000), scope: Some(CacheScope::Public) };
    let modern = ModernFields { hints, server_info: Some(br#"{"name":"gw","version":"1"}"#) };
    let result: Value =
        serde_json::from_str(&text(&list, &list.page(0, ALL, |_| true), Some("c\"1"), Some(modern))).unwrap();
    assert_eq!(
        result,
        json!({ "resultType": "complete", "resourceTemplates": [], "nextCursor": "c\"1", "ttlMs": 5000,
            "cacheScope": "public", "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "gw", "version": "1" } } })
    );
}

#[test]
fn cache_hints_take_the_most_careful_part() {
    let hint = |ttl_ms, scope| CacheHints { ttl_ms, scope };
    let (public, private) = (Some(CacheScope::Public), Some(CacheScope::Private));
    let merged = |parts: &[CacheHints]| CacheHints::merged(parts.iter().copied());
    assert_eq!(merged(&[hint(Some(9), public), hint(Some(5), public)]), hint(Some(5), public));
    assert_eq!(
        merged(&[hint(Some(9), public), hint(None, public), hint(Some(5), public)]),
        hint(Some(0), public)
    );
    assert_eq!(merged(&[hint(Some(9), public), hint(Some(9), private)]), hint(Some(9), private));
    assert_eq!(
        merged(&[hint(Some(9), public), hint(Some(9), None), hint(Some(9), public)]),
        hint(Some(9), private)
    );
    assert_eq!(merged(&[]), hint(Some(0), private));
}

#[test]
fn pages_respect_both_bounds_and_what_the_caller_may_see() {
    let one = items(
        ListKind::Prompts,
        &["1", "2", "3", "4", "5"].map(|n| format!(r#"{{"name":"{n}"}}"#)).each_ref().map(|s| &**s),
    );
    let list = MergedList::build(ListKind::Prompts, &[&one], None);
    let two = PageLimits { max_items: 2, ..ALL };
    let first = list.page(0, two, |_| true);
    assert_eq!(
        (text(&list, &first, None, None).as_str(), first.next),
        (r#"{"prompts":[{"name":"1"},{"name":"2"}]}"#, Some(2))
    );
    let end = list.page(4, two, |_| true);
    assert_eq!((text(&list, &end, None, None).as_str(), end.next), (r#"{"prompts":[{"name":"5"}]}"#, None));
    let small = PageLimits { max_items: 9, max_bytes: 1 };
    assert_eq!(list.page(1, small, |_| true).next, Some(2), "one item at least");
    let odd = list.page(0, two, |item| &*item.key != "2" && &*item.key != "4" && &*item.key != "5");
    assert_eq!(
        (text(&list, &odd, None, None).as_str(), odd.next),
        (r#"{"prompts":[{"name":"1"},{"name":"3"}]}"#, None)
    );
    assert_eq!(list.page(99, two, |_| true), list.page(0, two, |_| false), "nothing left");
}

#[test]
fn the_generation_follows_the_content() {
    let build = |kind, raw: &[&str]| MergedList::build(kind, &[&items(kind, raw)], None).generation();
    let one = build(ListKind::Tools, &[r#"{"name":"a"}"#]);
    assert_eq!(one, build(ListKind::Tools, &[r#"{"name":"a"}"#]));
    assert_ne!(one, build(ListKind::Tools, &[r#"{"name":"a" }"#]));
    assert_ne!(one, build(ListKind::Prompts, &[r#"{"name":"a"}"#]));
}

#[test]
fn tools_with_broken_header_annotations_are_taken_out() {
    let broken = r#"{"name":"b","inputSchema":{"properties":{"p":{"type":"number","x-mcp-header":"P"}}}}"#;
    let good = r#"{"name":"g","inputSchema":{"properties":{"p":{"type":"string","x-mcp-header":"P"}}}}"#;
    let mut items = items(ListKind::Tools, &[r#"{"name":"a"}"#, broken, good]);
    let (headers, rejected) = reject_invalid_tools(&mut items);
    assert_eq!(items.iter().map(|item| &*item.key).collect::<Vec<_>>(), ["a", "g"]);
    assert_eq!(headers.iter().map(|headers| headers.params().len()).collect::<Vec<_>>(), [0, 1]);
    let violation = Violation::NotPrimitive { at: "p".into() };
    assert_eq!(rejected, [RejectedTool { name: "b".into(), violation }]);
}
