//! One client for each frontend. Changes when a frontend is added.

mod http;
mod wire;

pub(crate) use http::HttpClient;
pub(crate) use wire::{Form, WireClient};
