//! One client for each frontend. Changes when a frontend is added.

mod http;

pub(crate) use http::HttpClient;
