//! A gateway with its metrics page, and reading that page. Changes with the Prometheus text format.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{Config, Gateway, PATIENCE, http};

/// How many free ports are tried: one may be taken by another program between our look and the gateway's bind.
const ATTEMPTS: usize = 5;

/// The metrics page of one gateway.
#[derive(Debug)]
pub struct Metrics {
    url: String,
}

impl Metrics {
    /// Starts a gateway that serves metrics and health pages on a port of their own: there, port 0 means "off".
    pub fn start(config: &Config) -> Result<(Gateway, Self)> {
        let mut refusal = None;
        for _ in 0..ATTEMPTS {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            match Gateway::start(&config.clone().set("server", "metrics_port", port.into())) {
                Ok(gateway) => return Ok((gateway, Self { url: format!("http://127.0.0.1:{port}") })),
                Err(error) if error.to_string().contains("cannot listen on") => refusal = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(refusal.context("no attempt was made")?)
    }

    /// An address on that port.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The whole page.
    pub fn text(&self) -> Result<String> {
        let response = http::get(&self.url("/metrics"))?;
        if response.head.status != 200 {
            bail!("/metrics answered {:?}", response.head);
        }
        String::from_utf8(response.body).context("metrics are UTF-8")
    }

    /// The value of a counter or gauge, written as it is on the page: `name` or `name{label="value"}`. 0 when it is
    /// absent.
    pub fn value(&self, series: &str) -> Result<i64> {
        let text = self.text()?;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(Ok(0), |value| value.parse().with_context(|| format!("{series} {value}")))
    }

    /// Waits until a series has this value.
    pub fn wait(&self, series: &str, wanted: i64) -> Result<()> {
        self.wait_for(series, &format!("{wanted}"), |value| value == wanted).map(drop)
    }

    /// Waits until a series is not 0, and gives its value.
    pub fn wait_some(&self, series: &str) -> Result<i64> {
        self.wait_for(series, "something", |value| value != 0)
    }

    fn wait_for(&self, series: &str, wanted: &str, is_it: impl Fn(i64) -> bool) -> Result<i64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let value = self.value(series)?;
            if is_it(value) {
                return Ok(value);
            }
            if Instant::now() > deadline {
                bail!("{series} is {value} and not {wanted}");
            }
            pause(Duration::from_millis(20));
        }
    }
}

/// The pause between two looks at something that gives no event.
pub fn pause(time: Duration) {
    std::thread::park_timeout(time);
}
