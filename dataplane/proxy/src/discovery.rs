//! The configuration of a pod: from an operator, or from what was saved. Changes with what a pod does between two
//! configurations.
//!
//! ```text
//!  starting ──change──▶ configured ◀──change──┐
//!     │                    ▲  └───────────────┘
//!     └─no stream in time──┘ saved configuration, if there is one; else it stays unready and says so
//! ```
//!
//! The protocol is [`bridge_snapshot::push`], whose state machine [`Subscriber`] decides; this is what moves it. Once
//! something is served, nothing here depends on an operator any more.

mod apply;
mod blame;
mod bootstrap;
mod dial;
mod files;
mod link;
mod peers;
mod pod;
mod report;
mod saved;
mod standing;

pub use bootstrap::{Bootstrap, BootstrapError};
pub use pod::{Logging, run};
pub(crate) use standing::Standing;

#[cfg(doc)]
use bridge_snapshot::push::Subscriber;
