//! Pagination of the four lists. Changes when the cursor form does.

use std::num::NonZeroUsize;

use rmcp::model::{ErrorData, PaginatedRequestParams};

const PREFIX: &str = "from-";

/// One page of `items` and the cursor of the next. A cursor that this server did not hand out is `-32602`.
pub(crate) fn page<T>(
    items: Vec<T>,
    request: Option<PaginatedRequestParams>,
    size: Option<NonZeroUsize>,
) -> Result<(Vec<T>, Option<String>), ErrorData> {
    let start = match request.and_then(|params| params.cursor) {
        None => 0,
        Some(cursor) => cursor
            .strip_prefix(PREFIX)
            .and_then(|offset| offset.parse::<usize>().ok())
            .filter(|offset| *offset > 0 && *offset < items.len() && size.is_some())
            .ok_or_else(|| ErrorData::invalid_params(format!("unknown cursor: {cursor:?}"), None))?,
    };
    let Some(size) = size else { return Ok((items, None)) };
    let end = start.saturating_add(size.get());
    let next = (end < items.len()).then(|| format!("{PREFIX}{end}"));
    Ok((items.into_iter().skip(start).take(size.get()).collect(), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(cursor: &str) -> PaginatedRequestParams {
        PaginatedRequestParams::default().with_cursor(Some(cursor.to_owned()))
    }

    #[test]
    fn pages_cover_the_list_once_and_only_own_cursors_work() {
        let items = || vec![1, 2, 3, 4, 5];
        let size = NonZeroUsize::new(2);
        let (first, next) = page(items(), None, size).unwrap();
        assert_eq!((first, next.as_deref()), (vec![1, 2], Some("from-2")));
        let (second, next) = page(items(), Some(request("from-2")), size).unwrap();
        assert_eq!((second, next.as_deref()), (vec![3, 4], Some("from-4")));
        let (third, next) = page(items(), Some(request("from-4")), size).unwrap();
        assert_eq!((third, next), (vec![5], None));
        for bad in ["", "2", "from-x", "from-5", "from-0"] {
            assert!(page(items(), Some(request(bad)), size).is_err(), "{bad:?} was accepted");
        }
        assert!(page(items(), Some(request("from-2")), None).is_err(), "a single page has no cursors");
    }
}
