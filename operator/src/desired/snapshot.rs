//! The cold-start Secrets: the configuration from which a new pod starts while no operator answers. Changes with the format
//! that pods read.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bridge_api::v1alpha1::McpGateway;
use bridge_snapshot::push::Saved;
use serde_json::{Value, json};

use super::{Installation, Owned, OwnedKind, Subject};
use crate::layout;
use crate::world::ObjectName;

/// Bytes in one Secret, of which etcd takes about 1 MiB with everything around them.
const PART: usize = 700 * 1024;
/// Secrets of one gateway. Every pod mounts as many, whether or not they exist.
pub(super) const MOST_PARTS: usize = 24;

/// A configuration that is larger than what pods mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {bytes} bytes, more than the {} that cold-start Secrets hold", PART * MOST_PARTS)]
pub struct TooLarge {
    /// Its size.
    pub bytes: usize,
}

/// The Secrets of a configuration. Their files, in the order of their names, are the text of [`Saved`].
pub fn snapshots(
    gateway: &McpGateway,
    installation: &Installation,
    saved: &Saved,
) -> Result<Vec<Owned>, TooLarge> {
    let subject = Subject::new(gateway, installation);
    // A saved configuration is made of encoded entries, so encoding it again cannot fail.
    let text = serde_json::to_vec(saved).unwrap_or_default();
    if text.len() > PART * MOST_PARTS {
        return Err(TooLarge { bytes: text.len() });
    }
    let parts = text.chunks(PART).enumerate().map(|(index, part)| {
        let data: Value = json!({ format!("part-{index:03}"): STANDARD.encode(part) });
        let name = layout::snapshot(&subject.name.name, index);
        subject.own(OwnedKind::Secret, &name, &json!({ "type": "mcp.bridge/snapshot", "data": data }))
    });
    Ok(parts.collect())
}

/// The configuration in the `data` of Secrets; `None` when they hold none, or not all of one of this gateway.
pub(crate) fn read<'a>(gateway: &ObjectName, parts: impl Iterator<Item = &'a Value>) -> Option<Saved> {
    let mut files = BTreeMap::new();
    for (file, text) in parts.filter_map(Value::as_object).flatten() {
        // Two of the same name: one of them is left from before.
        if files.insert(file, STANDARD.decode(text.as_str()?).ok()?).is_some() {
            return None;
        }
    }
    let text: Vec<u8> = files.into_values().flatten().collect();
    let saved: Saved = serde_json::from_slice(&text).ok()?;
    saved.verify(&gateway.to_string()).ok().map(|()| saved)
}
