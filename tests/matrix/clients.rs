//! One client for each frontend. Changes when a frontend is added.

mod http;
mod post;
mod streams;
mod wire;

pub(crate) use http::HttpClient;
pub(crate) use post::PostClient;
pub(crate) use streams::StandardStreams;
pub(crate) use wire::{Form, WireClient};
