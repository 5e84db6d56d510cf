//! Serving clients of one generation from servers of the other: the drivers of `bridge_mcp::translate`.
//!
//! Changes when a direction is driven differently. A modern client at a legacy server is served by [`serve`] from a
//! [`Pool`] of legacy conversations; what the server asks *parks* the call in [`Parked`] until the client repeats it. A
//! legacy client at a modern server has a [`ToModern`] conversation, which looks to its session like any other.

mod call;
mod handle;
mod legacy_client;
mod listen;
mod modern_client;
mod parked;
mod pool;
mod rounds;
mod subscriptions;
mod watch;

pub(crate) use call::ToLegacyCall;
pub(crate) use handle::HandleKey;
pub(crate) use legacy_client::{ToModern, open as open_to_modern};
pub(crate) use modern_client::serve;
pub(crate) use parked::Parked;
pub(crate) use pool::Pool;
pub(crate) use rounds::ToModernCall;
pub(crate) use watch::{Watches, watch_legacy};
