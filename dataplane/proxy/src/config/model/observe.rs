//! `metrics`, `logging` and `tracing`. Changes when what the gateway reports gets keys.

use super::Anything;
use crate::config::decode::{FromText, Problem};
use crate::config::shape::Status::{NoEffect, NotYet, NotYetQuiet, Works};
use crate::config::shape::{Shape, choice, section};
use crate::config::values::{Number, Port};

section! {
    /// Prometheus metrics.
    pub(crate) struct Metrics {
        /// Whether metrics are served.
        enabled: bool = true, Works;
        /// Port, when `server.metrics_port` is left out.
        port: Option<Port>, Works;
    } accepts {
        /// Path of the metrics page. The port answers on every path but those of the health pages, so any other works.
        path: PagePath = PagePath("/metrics".to_owned()), Works;
        /// Address of the metrics page.
        endpoint: String, NoEffect("`server.host` and `server.metrics_port` say where metrics are");
        /// Labels added to every metric.
        labels: Anything, NotYet("constant metric labels are");
    }
}

/// An absolute path of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PagePath(pub(crate) String);

impl FromText for PagePath {
    fn text_shape() -> Shape {
        Shape::Text { name: "path", schema: serde_json::json!({ "type": "string", "pattern": "^/" }) }
    }

    fn from_text(text: &str) -> Result<Self, Problem> {
        let path = text.parse::<http::uri::PathAndQuery>().ok();
        match path {
            Some(path) if text.starts_with('/') && path.query().is_none() => Ok(Self(text.to_owned())),
            _ => Err(Problem::new("not a path").remedy("allowed: a path that begins with `/`")),
        }
    }

    fn to_json(&self) -> serde_json::Value {
        self.0.as_str().into()
    }
}

section! {
    /// The log, on standard error.
    pub(crate) struct Logging {
        /// Least severe level that is logged. `fatal` and `panic` of the original count as `error`.
        level: LogLevel = LogLevel::Info, Works;
        /// `json` for machines, `text` for people.
        format: LogFormat = LogFormat::Json, Works;
        /// Whether lines name the place in the source.
        include_caller: bool = false, Works;
    }
}

choice! {
    /// Level of a log line.
    pub enum LogLevel {
        /// Every step.
        Trace = "trace",
        /// Steps that help to find a fault.
        Debug = "debug",
        /// What an operator wants to see.
        Info = "info",
        /// What deserves a look.
        Warn = "warn" | "warning",
        /// What failed.
        Error = "error" | "fatal" | "panic",
    }
}

impl std::str::FromStr for LogLevel {
    type Err = String;

    /// Reads the spellings that `logging.level` has.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::from_text(text).map_err(|problem| problem.to_string())
    }
}

choice! {
    /// Form of a log line.
    pub enum LogFormat {
        /// One JSON object per line.
        Json = "json",
        /// Readable text.
        Text = "text" | "console",
    }
}

section! {
    /// Distributed tracing.
    pub(crate) struct Tracing {
        /// Whether it is on.
        enabled: bool = false, NotYetQuiet;
    } accepts {
        /// Name of this service in traces.
        service_name: String, NotYetQuiet;
        /// Version of this service in traces.
        service_version: String, NotYetQuiet;
        /// Environment in traces.
        environment: String, NotYetQuiet;
        /// Which requests are traced.
        sampler_type: String, NotYetQuiet;
        /// Setting of the sampler.
        sampler_param: Number, NotYetQuiet;
        /// Where traces go.
        exporter_type: String, NotYetQuiet;
        /// OTLP endpoint.
        otlp_endpoint: String, NotYetQuiet;
        /// OTLP without TLS.
        otlp_insecure: bool, NotYetQuiet;
        /// Jaeger agent.
        agent_host: String, NotYetQuiet;
        /// Port of the Jaeger agent.
        agent_port: Port, NotYetQuiet;
    }
}
