//! Merged lists: nothing is lost or altered but names, pages add up to the list, failing backends spoil nothing.

#![allow(clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]

use std::collections::BTreeSet;

use bridge_mcp::cursor::{Cursor, CursorKey};
use bridge_mcp::merge::{Item, ListKind, ListLimits, MergedList, PageLimits, items_from_result};
use bridge_mcp::names::{BackendNames, NameTable, Naming};
use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::Value;

const LIMITS: ListLimits = ListLimits { max_bytes: 1 << 20, max_depth: 32, max_items: 1000 };

/// A tool as a server might write it: any spacing, extra members on both sides, its name sometimes escaped.
fn tool() -> impl Strategy<Value = (String, String)> {
    ("[a-d]{1,2}", "[ \\n]{0,2}", prop::bool::ANY, prop::bool::ANY).prop_map(
        |(name, blank, escaped, before)| {
            let spelled =
                if escaped { format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]) } else { name.clone() };
            let extra = if before { r#""inputSchema":{"name":"x","n":1.50},"# } else { "" };
            let raw =
                format!(r#"{{{blank}{extra}"name"{blank}:{blank}"{spelled}","title":"é\u00e9"{blank}}}"#);
            (name, raw)
        },
    )
}

fn catalogue(tools: &[(String, String)]) -> Vec<Item> {
    let raw: Vec<&str> = tools.iter().map(|(_, raw)| &**raw).collect();
    let result = format!(r#"{{"tools":[{}]}}"#, raw.join(" ,\n"));
    let page = items_from_result(result.as_bytes(), ListKind::Tools, &LIMITS).unwrap();
    assert_eq!(page.skipped, 0);
    page.items
}

fn merge(backends: &[Vec<(String, String)>], prefixes: &[String]) -> (MergedList, NameTable) {
    let names: Vec<Vec<&str>> =
        backends.iter().map(|tools| tools.iter().map(|(name, _)| &**name).collect()).collect();
    let offered: Vec<_> =
        prefixes.iter().zip(&names).map(|(prefix, names)| BackendNames { prefix, names }).collect();
    let table = NameTable::build(Naming::OnConflict, &offered, &BTreeSet::new());
    let catalogues: Vec<Vec<Item>> = backends.iter().map(|tools| catalogue(tools)).collect();
    let catalogues: Vec<&[Item]> = catalogues.iter().map(Vec::as_slice).collect();
    (MergedList::build(ListKind::Tools, &catalogues, Some(&table)), table)
}

fn served(list: &MergedList, limits: PageLimits) -> Vec<Value> {
    let key = CursorKey::new([7; 32]);
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let page = list.page(offset, limits, |_| true);
        let cursor = page.next.map(|next| Cursor::at(list, next).encode(&key));
        let mut out = BytesMut::new();
        list.write_result(&mut out, &page, cursor.as_deref(), None);
        let result: Value = serde_json::from_slice(&out).unwrap();
        let items = result["tools"].as_array().unwrap();
        assert!(items.len() <= limits.max_items.max(1));
        all.extend(items.iter().cloned());
        match result.get("nextCursor").and_then(Value::as_str) {
            None => return all,
            Some(cursor) => {
                assert!(!items.is_empty());
                offset = Cursor::decode(cursor, &key).unwrap().offset_in(list).unwrap();
            }
        }
    }
}

fn backends() -> impl Strategy<Value = Vec<Vec<(String, String)>>> {
    prop::collection::vec(prop::collection::vec(tool(), 0..6), 0..5)
}

fn prefixes() -> Vec<String> {
    (0..5).map(|backend| format!("backend{backend}")).collect()
}

proptest! {
    #[test]
    fn every_tool_is_served_once_under_its_name_and_otherwise_unaltered(
        backends in backends(), max_items in 0usize..5, max_bytes in 0usize..500,
    ) {
        let (list, table) = merge(&backends, &prefixes());
        let mut expected = Vec::new();
        for (backend, tools) in backends.iter().enumerate() {
            let mut seen = BTreeSet::new();
            for (name, raw) in tools.iter().filter(|(name, _)| seen.insert(name)) {
                let mut tool: Value = serde_json::from_str(raw).unwrap();
                tool["name"] = table.exposed(backend, name).unwrap().into();
                expected.push(tool);
            }
        }
        prop_assert_eq!(&served(&list, PageLimits { max_items, max_bytes }), &expected);
        let all: usize = backends.iter().map(Vec::len).sum();
        prop_assert_eq!(list.items().len() + list.left_out().len(), all);
    }

    #[test]
    fn a_renamed_tool_keeps_every_other_byte(backends in backends()) {
        let (list, table) = merge(&backends, &prefixes());
        let mut out = BytesMut::new();
        list.write_result(&mut out, &list.page(0, PageLimits { max_items: 99, max_bytes: 1 << 20 }, |_| true), None, None);
        let out = std::str::from_utf8(&out).unwrap();
        for (backend, tools) in backends.iter().enumerate() {
            let mut seen = BTreeSet::new();
            for (name, raw) in tools.iter().filter(|(name, _)| seen.insert(name)) {
                let start = raw.rfind("\"name\"").unwrap();
                let colon = start + raw[start..].find(':').unwrap();
                let open = colon + raw[colon..].find('"').unwrap();
                let close = open + 1 + raw[open + 1..].find('"').unwrap();
                let shown = table.exposed(backend, name).unwrap();
                let expected = if shown == name {
                    raw.clone()
                } else {
                    format!("{}\"{shown}\"{}", &raw[..open], &raw[close + 1..])
                };
                prop_assert!(out.contains(&expected), "{} not in {}", expected, out);
            }
        }
    }

    #[test]
    fn without_a_failing_backend_the_others_are_served_in_the_same_order(
        backends in backends(), lost in any::<prop::sample::Index>()
    ) {
        prop_assume!(!backends.is_empty());
        let lost = lost.index(backends.len());
        let (whole, _) = merge(&backends, &prefixes());
        let mut fewer = backends.clone();
        fewer[lost].clear();
        let (rest, _) = merge(&fewer, &prefixes());
        let keys = |list: &MergedList| -> Vec<_> {
            list.items().iter().filter(|item| item.backend != lost).map(|item| (item.backend, item.key.clone())).collect()
        };
        prop_assert_eq!(keys(&whole), keys(&rest));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(result in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..4) {
        let _ = items_from_result(&result, ListKind::ALL[kind], &LIMITS);
    }
}
