//! Authentication: a token goes in, a principal or the reason of its refusal comes out.
//!
//! What is absent on purpose: tasks, sockets, clocks, the process's environment. Files are read in [`Keys::load`] only.
//! Start at [`Authenticator::verify`].

mod authenticator;
mod cache;
mod claims;
mod issue;
mod jws;
mod keys;
mod object;

pub use authenticator::Authenticator;
pub use issue::{Claims, Rates, sign};
pub use keys::{KeyError, Keys, read_public_key};
