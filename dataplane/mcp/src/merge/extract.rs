//! Reading a backend's list result into items.
//! Changes when what the gateway needs of a list item changes.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::{CacheHints, CacheScope, ListKind};
use crate::limits::Limits;
use crate::param_headers::whole_number;
use crate::scan::{Kind, ScanError, Scanner, Span, decode_string, kind_of};

/// One item of a list, as the backend wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name, URI or URI template, decoded.
    pub key: Box<str>,
    /// The whole item.
    pub raw: Bytes,
    /// Where the key stands in `raw`, quotes included.
    pub key_span: Range<usize>,
}

impl Item {
    /// Reads one item that stands alone. `None` when it is no object or has no single, non-empty text as key.
    pub fn read(kind: ListKind, raw: Bytes) -> Option<Self> {
        let limits = Limits::backend(usize::MAX, usize::MAX);
        let (mut key_span, mut keys) = (None, 0);
        Scanner::new(&raw, &limits)
            .and_then(|mut scanner| {
                scanner.object(|scanner, key| {
                    let value = scanner.value()?;
                    if decode_string(key.of(&raw)).as_deref() == Some(kind.key()) {
                        key_span = Some(value);
                        keys += 1;
                    }
                    Ok(())
                })
            })
            .ok()?;
        let span = key_span.filter(|_| keys == 1)?;
        let key = decode_string(span.of(&raw)).filter(|key| !key.is_empty())?.into();
        Some(Self { key, key_span: span.start()..span.end(), raw })
    }
}

/// Bounds of one list result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListLimits {
    /// Size in bytes.
    pub max_bytes: usize,
    /// Nesting of arrays and objects.
    pub max_depth: usize,
    /// Items.
    pub max_items: usize,
}

/// What a list result holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage {
    /// The usable items, in the backend's order.
    pub items: Vec<Item>,
    /// Items left out because they are no objects or have no single, non-empty text as key.
    pub skipped: usize,
    /// The cursor of the next page, decoded. Only absence ends a list; an empty cursor is one (MCP "Pagination").
    pub next_cursor: Option<Box<str>>,
    /// Cache hints.
    pub hints: CacheHints,
}

/// Why a list result cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Not acceptable JSON.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Not an object with the list in it.
    #[error("the result has no array `{member}`")]
    NoList {
        /// The member that was looked for.
        member: &'static str,
    },
    /// More items than allowed.
    #[error("the list has more than {max} items")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// A member that was read is there twice.
    #[error("the result has `{member}` twice")]
    Repeated {
        /// The member.
        member: &'static str,
    },
    /// `nextCursor` is neither text nor null, so that the rest of the list cannot be asked for.
    #[error("`nextCursor` is not a string")]
    Cursor,
    /// `resultType` is not `complete`: not an answer to a list request (MCP 2026-07-28, "Results").
    #[error("`resultType` of a list is not `complete`")]
    Incomplete,
}

#[derive(Default)]
struct Found {
    list: bool,
    items: Vec<(Span, Span)>,
    skipped: usize,
    next_cursor: Option<Span>,
    ttl_ms: Option<Span>,
    scope: Option<Span>,
    result_type: Option<Span>,
    repeated: Option<&'static str>,
}

/// Reads the raw `result` of a list request. One bad item does not spoil the others. The items share one buffer that
/// holds nothing else, so that a kept catalogue does not keep the message.
pub fn items_from_result(result: &[u8], kind: ListKind, limits: &ListLimits) -> Result<ListPage, ListError> {
    let scan = Limits::backend(limits.max_bytes, limits.max_depth);
    let mut scanner = Scanner::new(result, &scan)?;
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        scanner.end()?;
        return Err(ListError::NoList { member: kind.member() });
    }
    let found = read(result, &mut scanner, kind, limits.max_items)?;
    scanner.end()?;
    if let Some(member) = found.repeated {
        return Err(ListError::Repeated { member });
    }
    if found.result_type.is_some_and(|span| decode_string(span.of(result)).as_deref() != Some("complete")) {
        return Err(ListError::Incomplete);
    }
    if !found.list {
        return Err(ListError::NoList { member: kind.member() });
    }
    if found.items.len() > limits.max_items {
        return Err(ListError::TooMany { max: limits.max_items });
    }
    let hints = CacheHints { ttl_ms: ttl(result, found.ttl_ms), scope: scope(result, found.scope) };
    let next_cursor = next_cursor(result, found.next_cursor)?;
    let (items, without_key) = copy(result, &found.items);
    Ok(ListPage { items, skipped: found.skipped + without_key, next_cursor, hints })
}

fn read(
    result: &[u8],
    scanner: &mut Scanner<'_>,
    kind: ListKind,
    max_items: usize,
) -> Result<Found, ScanError> {
    let mut found = Found::default();
    scanner.object(|scanner, key| {
        let key = decode_string(key.of(result)).unwrap_or_default();
        if key == kind.member() && scanner.peek() == Some(b'[') {
            if std::mem::replace(&mut found.list, true) {
                found.repeated = Some(kind.member());
            }
            return read_items(result, scanner, kind, max_items, &mut found);
        }
        let value = scanner.value()?;
        let (slot, name) = match key.as_ref() {
            "nextCursor" => (&mut found.next_cursor, "nextCursor"),
            "ttlMs" => (&mut found.ttl_ms, "ttlMs"),
            "cacheScope" => (&mut found.scope, "cacheScope"),
            "resultType" => (&mut found.result_type, "resultType"),
            _ => return Ok(()),
        };
        if slot.replace(value).is_some() {
            found.repeated = Some(name);
        }
        Ok(())
    })?;
    Ok(found)
}

fn read_items(
    result: &[u8],
    scanner: &mut Scanner<'_>,
    kind: ListKind,
    max_items: usize,
    found: &mut Found,
) -> Result<(), ScanError> {
    scanner.array(|scanner| {
        if scanner.peek() != Some(b'{') {
            found.skipped += 1;
            return scanner.value().map(drop);
        }
        let (mut key_span, mut keys) = (None, 0);
        let span = scanner.object(|scanner, key| {
            let value = scanner.value()?;
            if decode_string(key.of(result)).as_deref() == Some(kind.key()) {
                key_span = Some(value);
                keys += 1;
            }
            Ok(())
        })?;
        match key_span {
            // One beyond the bound is enough to know that it is passed.
            Some(key_span) if keys == 1 && found.items.len() <= max_items => {
                found.items.push((span, key_span));
            }
            Some(_) if keys == 1 => {}
            _ => found.skipped += 1,
        }
        Ok(())
    })?;
    Ok(())
}

/// Copies the items out of the message; also counts those whose key is empty or not text.
fn copy(result: &[u8], spans: &[(Span, Span)]) -> (Vec<Item>, usize) {
    let keyed: Vec<_> = spans
        .iter()
        .filter_map(|(span, key)| {
            let text = decode_string(key.of(result)).filter(|text| !text.is_empty())?;
            Some((*span, *key, Box::<str>::from(text)))
        })
        .collect();
    let mut buffer = BytesMut::with_capacity(keyed.iter().map(|(span, ..)| span.end() - span.start()).sum());
    let mut items = Vec::with_capacity(keyed.len());
    for (span, key_span, key) in keyed {
        buffer.extend_from_slice(span.of(result));
        let raw = buffer.split().freeze();
        items.push(Item {
            key,
            raw,
            key_span: key_span.start() - span.start()..key_span.end() - span.start(),
        });
    }
    let without_key = spans.len() - items.len();
    (items, without_key)
}

fn next_cursor(result: &[u8], span: Option<Span>) -> Result<Option<Box<str>>, ListError> {
    let Some(raw) = span.map(|span| span.of(result)) else { return Ok(None) };
    if kind_of(raw) == Some(Kind::Null) {
        return Ok(None);
    }
    decode_string(raw).map(|text| Some(text.into())).ok_or(ListError::Cursor)
}

/// Missing and negative count as 0 (MCP 2026-07-28, "Caching"), so do values that are no whole number.
fn ttl(result: &[u8], span: Option<Span>) -> Option<u64> {
    let text = std::str::from_utf8(span?.of(result)).ok()?;
    whole_number(text)?.parse().ok()
}

fn scope(result: &[u8], span: Option<Span>) -> Option<CacheScope> {
    match decode_string(span?.of(result))?.as_ref() {
        "public" => Some(CacheScope::Public),
        "private" => Some(CacheScope::Private),
        _ => None,
    }
}
