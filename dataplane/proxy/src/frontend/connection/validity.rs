//! How long a connection lasts that was opened with a credential: until the latest expiry of those that its client has
//! shown. Changes when connections end with something else.

use std::time::{Duration, SystemTime};

use bridge_policy::principal::Principal;
use tokio::sync::watch;

/// The credential of one connection. Without one it lasts as long as it likes.
pub(super) struct Validity(watch::Sender<Option<SystemTime>>);

impl Validity {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// The connection belongs to `principal`, by the credential that it opened with.
    pub(super) fn bind(&self, principal: &Principal) {
        self.0.send_replace(principal.expires_at());
    }

    /// A message has shown another credential of the same party.
    pub(super) fn extend(&self, principal: &Principal) {
        self.0.send_if_modified(|until| match (*until, principal.expires_at()) {
            (Some(known), Some(later)) if later > known => {
                *until = Some(later);
                true
            }
            _ => false,
        });
    }

    /// Completes when the credential is void.
    pub(super) async fn expired(&self) {
        let mut changes = self.0.subscribe();
        loop {
            let until = *changes.borrow_and_update();
            let left = until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
            let slept = async {
                match left {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            if left == Some(Duration::ZERO) {
                return;
            }
            tokio::select! {
                () = slept => {}
                // The sender lives as long as `self`.
                _ = changes.changed() => {}
            }
        }
    }
}
