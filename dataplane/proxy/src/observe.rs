//! What can be seen of the gateway from outside. Changes when something else is observed.

mod config;
mod gauges;
mod metrics;
pub(crate) mod tcp;
mod websocket;

pub(crate) use config::ConfigCollector;
pub(crate) use gauges::keep_gauges;
pub(crate) use metrics::{Failed, GatewayMetrics, OpenConnection};
