//! Content blocks that an older revision has no form for, as text. Changes when a revision adds a kind of content.

use super::losses::{Loss, Losses};
use super::members::{Object, quoted};
use crate::version::Version;

/// The block that a client of `version` gets instead of the block `raw`; `None` when it can read the block itself.
/// Kinds that no revision defines pass.
pub(super) fn downgraded(raw: &[u8], version: Version, lost: &mut Losses) -> Option<String> {
    let block = Object::whole(raw)?;
    let (kind, text) = match block.text("type")?.as_ref() {
        "audio" if version < Version::V2025_03_26 => (Loss::AudioContent, audio(&block)),
        "resource_link" if version < Version::V2025_06_18 => (Loss::ResourceLink, link(&block)),
        _ => return None,
    };
    lost.insert(kind);
    let annotations = block.raw("annotations").map(String::from_utf8_lossy);
    let annotations = annotations.map(|raw| format!(r#","annotations":{raw}"#)).unwrap_or_default();
    Some(format!(r#"{{"type":"text","text":{}{annotations}}}"#, quoted(&text)))
}

fn audio(block: &Object<'_>) -> String {
    let kind = block.text("mimeType").unwrap_or("unknown type".into());
    format!("[audio, {kind}: this client's protocol revision has no form for it]")
}

fn link(block: &Object<'_>) -> String {
    let part = |key| block.text(key).filter(|text| !text.is_empty());
    let uri = part("uri").unwrap_or_default();
    let name = part("title").or_else(|| part("name"));
    let what = name.map_or_else(|| uri.to_string(), |name| format!("{name}: {uri}"));
    let description = part("description").map(|text| format!("\n{text}")).unwrap_or_default();
    format!("[resource] {what}{description}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_revision_gets_what_it_knows() {
        let audio = r#"{"type":"audio","mimeType":"audio/wav","data":"AA==","annotations":{"priority":1.0}}"#;
        let link = r#"{"type":"resource_link","uri":"a:b","name":"n","title":"T\"","description":"d"}"#;
        let seen = |raw: &str, version| {
            let mut lost = Losses::default();
            let text = downgraded(raw.as_bytes(), version, &mut lost);
            assert_eq!(text.is_some(), !lost.is_empty());
            text
        };
        for version in Version::ALL {
            assert_eq!(seen(audio, version).is_some(), version < Version::V2025_03_26, "{version}");
            assert_eq!(seen(link, version).is_some(), version < Version::V2025_06_18, "{version}");
            for raw in [r#"{"type":"text","text":"a"}"#, r#"{"type":"new"}"#, "{}", "1"] {
                assert_eq!(seen(raw, version), None, "{raw}");
            }
        }
        assert_eq!(
            seen(audio, Version::V2024_11_05).unwrap(),
            r#"{"type":"text","text":"[audio, audio/wav: this client's protocol revision has no form for it]","annotations":{"priority":1.0}}"#
        );
        assert_eq!(
            seen(link, Version::V2025_03_26).unwrap(),
            r#"{"type":"text","text":"[resource] T\": a:b\nd"}"#
        );
        let bare = seen(r#"{"type":"resource_link","uri":"a:b"}"#, Version::V2024_11_05).unwrap();
        assert_eq!(bare, r#"{"type":"text","text":"[resource] a:b"}"#);
    }
}
