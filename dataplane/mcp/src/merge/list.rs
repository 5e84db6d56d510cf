//! The merged list: built once per change of a catalogue, served in pages.
//! Changes when merged lists are ordered, paged or written differently.

use std::collections::HashSet;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{CacheHints, CacheScope, Item, ListKind};
use crate::names::NameTable;

/// One list over all backends, ready to be served.
#[derive(Debug)]
pub struct MergedList {
    kind: ListKind,
    /// The items, separated by commas.
    body: Bytes,
    items: Vec<MergedItem>,
    left_out: Vec<LeftOut>,
    generation: u64,
}

/// An item of a merged list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedItem {
    /// Position of its backend.
    pub backend: usize,
    /// Its key as the backend knows it.
    pub key: Box<str>,
    range: Range<usize>,
}

/// An item that is not served because an earlier one has the same key or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Position of its backend.
    pub backend: usize,
    /// Its key as the backend knows it.
    pub key: Box<str>,
}

/// Bounds of one page. A page has at least one item, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimits {
    /// Items.
    pub max_items: usize,
    /// Bytes of all items.
    pub max_bytes: usize,
}

/// A part of a merged list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Ranges of neighbouring items in the list's body.
    runs: Vec<Range<usize>>,
    /// Where the next page starts; `None` when this is the last.
    pub next: Option<usize>,
}

/// What a result says beside its items in the stateless revisions.
#[derive(Debug, Clone, Copy)]
pub struct ModernFields<'a> {
    /// Cache hints; [`CacheHints::merged`] over the parts.
    pub hints: CacheHints,
    /// Raw JSON of the gateway's implementation info.
    pub server_info: Option<&'a [u8]>,
}

impl MergedList {
    /// Puts catalogues together: backends in order, each with its items in order. With `names` (tools and prompts on the
    /// endpoint of all backends) items carry the name that the table shows, and those that it hides are left out;
    /// without, the first of several items with one key is served.
    pub fn build(kind: ListKind, catalogues: &[&[Item]], names: Option<&NameTable>) -> Self {
        let all = catalogues
            .iter()
            .enumerate()
            .flat_map(|(backend, items)| items.iter().map(move |item| (backend, item)));
        let (mut items, mut left_out, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        let mut body = BytesMut::with_capacity(
            catalogues.iter().flat_map(|items| items.iter()).map(|item| item.raw.len() + 24).sum(),
        );
        for (backend, item) in all {
            let shown = match names {
                None => Some(&*item.key),
                Some(names) => names.exposed(backend, &item.key),
            };
            let Some(shown) = shown.filter(|shown| seen.insert(*shown)) else {
                left_out.push(LeftOut { backend, key: item.key.clone() });
                continue;
            };
            if !items.is_empty() {
                body.put_u8(b',');
            }
            let start = body.len();
            put_item(&mut body, item, shown);
            items.push(MergedItem { backend, key: item.key.clone(), range: start..body.len() });
        }
        let body = body.freeze();
        let generation = generation(kind, &body);
        Self { kind, body, items, left_out, generation }
    }

    /// Its kind.
    pub fn kind(&self) -> ListKind {
        self.kind
    }

    /// Its items.
    pub fn items(&self) -> &[MergedItem] {
        &self.items
    }

    /// What is not served: duplicates, and names that the table hides.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Differs whenever the list differs; equal on every replica that serves the same list.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Size of all items in bytes.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// The page that starts at item `offset`, of the items that the caller may see.
    pub fn page(&self, offset: usize, limits: PageLimits, visible: impl Fn(&MergedItem) -> bool) -> Page {
        let mut runs: Vec<Range<usize>> = Vec::new();
        let (mut count, mut bytes) = (0, 0usize);
        for (index, item) in self.items.iter().enumerate().skip(offset) {
            if !visible(item) {
                continue;
            }
            bytes = bytes.saturating_add(item.range.len());
            if count > 0 && (count >= limits.max_items || bytes > limits.max_bytes) {
                return Page { runs, next: Some(index) };
            }
            count += 1;
            match runs.last_mut() {
                Some(run) if run.end + 1 == item.range.start => run.end = item.range.end,
                _ => runs.push(item.range.clone()),
            }
        }
        Page { runs, next: None }
    }

    /// Writes a list result. `modern` adds what the stateless revisions require of it.
    pub fn write_result(
        &self,
        out: &mut BytesMut,
        page: &Page,
        next_cursor: Option<&str>,
        modern: Option<ModernFields<'_>>,
    ) {
        out.reserve(page.runs.iter().map(|run| run.len() + 1).sum::<usize>() + 256);
        out.put_u8(b'{');
        if modern.is_some() {
            out.put_slice(b"\"resultType\":\"complete\",");
        }
        out.put_u8(b'"');
        out.put_slice(self.kind.member().as_bytes());
        out.put_slice(b"\":[");
        for (index, run) in page.runs.iter().enumerate() {
            if index > 0 {
                out.put_u8(b',');
            }
            out.put_slice(self.body.get(run.clone()).unwrap_or_default());
        }
        out.put_u8(b']');
        if let Some(cursor) = next_cursor {
            out.put_slice(b",\"nextCursor\":");
            out.put_slice(json_string(cursor).as_bytes());
        }
        if let Some(modern) = modern {
            put_modern(out, modern);
        }
        out.put_u8(b'}');
    }
}

fn put_modern(out: &mut BytesMut, modern: ModernFields<'_>) {
    let scope = match modern.hints.scope {
        Some(CacheScope::Public) => "public",
        Some(CacheScope::Private) | None => "private",
    };
    out.put_slice(
        format!(",\"ttlMs\":{},\"cacheScope\":\"{scope}\"", modern.hints.ttl_ms.unwrap_or(0)).as_bytes(),
    );
    if let Some(info) = modern.server_info {
        out.put_slice(b",\"_meta\":{\"io.modelcontextprotocol/serverInfo\":");
        out.put_slice(info);
        out.put_u8(b'}');
    }
}

fn put_item(out: &mut BytesMut, item: &Item, shown: &str) {
    let around = (item.raw.get(..item.key_span.start), item.raw.get(item.key_span.end..));
    match around {
        (Some(before), Some(after)) if *shown != *item.key => {
            out.put_slice(before);
            out.put_slice(json_string(shown).as_bytes());
            out.put_slice(after);
        }
        _ => out.put_slice(&item.raw),
    }
}

fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}

fn generation(kind: ListKind, body: &[u8]) -> u64 {
    let digest = Sha256::new().chain_update(kind.member()).chain_update([0]).chain_update(body).finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
