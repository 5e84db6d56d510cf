//! `docs/bridging.md` says what the translators do.

#![allow(clippy::unwrap_used, reason = "in a test, a step that fails is a failed test")]
#![allow(
    clippy::disallowed_methods,
    reason = "this test reads and writes a document; the crate itself does not"
)]

use std::path::Path;

use bridge_mcp::translate::losses::{Loss, page};

#[test]
fn the_page_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/bridging.md");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, page()).unwrap();
        return;
    }
    assert!(
        std::fs::read_to_string(&path).is_ok_and(|text| text == page()),
        "docs/bridging.md is out of date; run UPDATE_REFERENCE=1 cargo test -p bridge-mcp --test bridging_page"
    );
}

#[test]
fn every_loss_has_a_row_of_its_own() {
    let page = page();
    for loss in Loss::ALL {
        assert_eq!(page.matches(&format!("| `{}` |", loss.as_str())).count(), 1, "{loss:?}");
    }
}
