//! Merged lists and their cursors: every usable item is served once, under a name that leads back to it.

use std::collections::BTreeSet;

use bridge_mcp::cursor::{Cursor, CursorKey};
use bridge_mcp::merge::{
    CacheHints, Item, ListKind, ListLimits, MergedList, ModernFields, PageLimits, items_from_result,
};
use bridge_mcp::names::{BackendNames, NameTable, Naming, Resolution};
use bytes::BytesMut;
use serde::de::IgnoredAny;

const LIMITS: ListLimits = ListLimits { max_bytes: 1 << 16, max_depth: 32, max_items: 200 };

/// The first line chooses the naming (its first byte) and the prefixes (separated by blanks); every further line is a
/// backend's list result.
pub fn fuzz_merge(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let head = String::from_utf8_lossy(lines.next().unwrap_or_default());
    let naming = [Naming::OnConflict, Naming::Always, Naming::Never][head.len() % 3];
    let mut prefixes = head.split(' ').chain(std::iter::repeat("p"));
    for kind in ListKind::ALL {
        for line in lines.clone() {
            let _ = items_from_result(line, kind, &LIMITS);
        }
    }
    let read = |line| items_from_result(line, ListKind::Tools, &LIMITS).ok();
    let catalogues: Vec<Vec<Item>> = lines.take(8).filter_map(read).map(|page| page.items).collect();
    let names: Vec<Vec<&str>> =
        catalogues.iter().map(|items| items.iter().map(|item| &*item.key).collect()).collect();
    let offered: Vec<_> = names
        .iter()
        .map(|names| BackendNames { prefix: prefixes.next().unwrap_or_default(), names })
        .collect();
    let table = NameTable::build(naming, &offered, &BTreeSet::new());
    let mut seen = BTreeSet::new();
    for (backend, names) in names.iter().enumerate() {
        for name in names.iter().copied().collect::<BTreeSet<_>>() {
            for exposed in table.exposed(backend, name).into_iter().chain(table.prefixed(backend, name)) {
                let Resolution::Owner(owner) = table.resolve(exposed) else {
                    panic!("{exposed} is nobody's")
                };
                assert_eq!((owner.backend, &*owner.original), (backend, name));
            }
            if let Some(exposed) = table.exposed(backend, name) {
                assert!(seen.insert(exposed.to_owned()), "{exposed} twice");
            }
        }
    }
    let slices: Vec<&[Item]> = catalogues.iter().map(Vec::as_slice).collect();
    served(&MergedList::build(ListKind::Tools, &slices, Some(&table)), &slices);
    served(&MergedList::build(ListKind::Tools, &slices, None), &slices);
}

fn served(list: &MergedList, catalogues: &[&[Item]]) {
    assert_eq!(
        list.items().len() + list.left_out().len(),
        catalogues.iter().map(|items| items.len()).sum::<usize>()
    );
    let (mut offset, mut pages) = (Some(0), 0);
    while let Some(at) = offset {
        let page = list.page(at, PageLimits { max_items: 3, max_bytes: 500 }, |_| true);
        let mut out = BytesMut::new();
        let hints = CacheHints::merged([]);
        list.write_result(&mut out, &page, Some("c"), Some(ModernFields { hints, server_info: None }));
        assert!(serde_json::from_slice::<IgnoredAny>(&out).is_ok(), "{out:?}");
        let read = items_from_result(&out, ListKind::Tools, &ListLimits { max_bytes: 1 << 20, ..LIMITS });
        assert_eq!(read.expect("our own list").skipped, 0);
        assert!(page.next.is_none_or(|next| next > at));
        offset = page.next;
        pages += 1;
    }
    assert!(pages <= list.items().len().max(1));
}

/// Text that a client might send as a cursor, and the fields of one that we might make.
pub fn fuzz_cursor(data: &[u8]) {
    let key = CursorKey::new([7; 32]);
    let text = String::from_utf8_lossy(data);
    if let Ok(cursor) = Cursor::decode(&text, &key) {
        assert_eq!(cursor.encode(&key), text, "one spelling per cursor");
    }
    let mut fields = data.iter().copied().chain(std::iter::repeat(0));
    let kind = ListKind::ALL[usize::from(fields.next().unwrap_or(0) % 4)];
    let mut number = || fields.by_ref().take(8).fold(0, |number, byte| number << 8 | u64::from(byte));
    let cursor = Cursor { kind, generation: number(), offset: number() };
    let text = cursor.encode(&key);
    assert_eq!(Cursor::decode(&text, &key), Ok(cursor));
    assert!(Cursor::decode(&text, &CursorKey::new([8; 32])).is_err());
    let mut bytes = text.into_bytes();
    let at = usize::from(data.last().copied().unwrap_or(0)) % bytes.len();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    assert!(Cursor::decode(&String::from_utf8_lossy(&bytes), &key).is_err(), "tampered");
}
