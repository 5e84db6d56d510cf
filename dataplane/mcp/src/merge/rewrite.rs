//! One backend's list result with other items in it. Changes when something else of such a result has to be written.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Item, ListError, ListKind, ListLimits, items_from_result};
use crate::limits::Limits;
use crate::scan::{Scanner, Span, decode_string};

/// The raw `result` of a list request with what `shown` makes of its items, in their order; everything else of it stays as
/// it was written. Items without a key are dropped: nobody could say whether they are shown.
pub fn rewrite_items(
    result: &[u8],
    kind: ListKind,
    limits: &ListLimits,
    shown: impl FnMut(Item) -> Option<Bytes>,
) -> Result<Bytes, ListError> {
    let page = items_from_result(result, kind, limits)?;
    let missing = ListError::NoList { member: kind.member() };
    let list = span_of(result, kind, limits)?.ok_or(missing)?;
    let mut out = BytesMut::with_capacity(result.len());
    out.put_slice(result.get(..list.start()).unwrap_or_default());
    out.put_u8(b'[');
    for (position, item) in page.items.into_iter().filter_map(shown).enumerate() {
        if position > 0 {
            out.put_u8(b',');
        }
        out.put_slice(&item);
    }
    out.put_u8(b']');
    out.put_slice(result.get(list.end()..).unwrap_or_default());
    Ok(out.freeze())
}

fn span_of(result: &[u8], kind: ListKind, limits: &ListLimits) -> Result<Option<Span>, ListError> {
    let scan = Limits::backend(limits.max_bytes, limits.max_depth);
    let (mut scanner, mut list) = (Scanner::new(result, &scan)?, None);
    scanner.object(|scanner, key| {
        let is_list =
            decode_string(key.of(result)).as_deref() == Some(kind.member()) && scanner.peek() == Some(b'[');
        let value = scanner.value()?;
        if is_list {
            list = Some(value);
        }
        Ok(())
    })?;
    Ok(list)
}
