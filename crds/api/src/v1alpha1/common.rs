//! What fields of both kinds are made of: references, selectors, durations. Changes when another kind of thing is
//! referred to.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::choice::choice;
use crate::schema;

/// A document that Kubernetes defines. It is stored as it was written, and validated when the operator applies the object
/// that it becomes part of.
pub type Preserved = BTreeMap<String, serde_json::Value>;

/// A label of DNS (RFC 1123).
pub(crate) const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A name of most Kubernetes objects (RFC 1123).
pub(crate) const DNS_SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
/// Such a label in which `*` stands for any run of characters.
const DNS_LABEL_PATTERN: &str = "^[a-z0-9*]([-a-z0-9*]*[a-z0-9*])?$";
/// A key of a Secret or ConfigMap.
pub(crate) const DATA_KEY: &str = "^[-._a-zA-Z0-9]+$";
/// The URL of something that is fetched.
pub(crate) const HTTP_URL: &str = "^https?://[^ ]+$";
/// A path of a URL.
pub(crate) const URL_PATH: &str = "^/[^ ?#]*$";
/// The name of a header (RFC 9110 5.1).
pub(crate) const HEADER_NAME: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";

/// One value of a Secret in the namespace of the object that refers to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// Key within the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = DATA_KEY))]
    pub key: String,
}

/// An object in the namespace of the one that refers to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
}

/// Certificates of authorities, as PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// What holds the certificates: ConfigMap or Secret. Default: ConfigMap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<CaKind>,
    /// Name of the ConfigMap or Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// Key within it. Default: ca.crt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = DATA_KEY))]
    pub key: Option<String>,
}

choice! {
    /// What holds certificates of authorities.
    pub enum CaKind {
        /// Certificates are not secret.
        ConfigMap,
        /// Where a tool writes them beside a key.
        Secret,
    }
}

/// Namespaces that a gateway takes something from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("(self.from == 'Selector') == has(self.selector)", "selector is required with from: Selector, and only there"))]
#[x_kube(validation = ("(self.from == 'Names') == has(self.names)", "names is required with from: Names, and only there"))]
pub struct Namespaces {
    /// Which namespaces besides the gateway's own, which it always takes from: Same (none), Selector (by their labels),
    /// Names (by their names) or All.
    #[serde(default)]
    pub from: NamespacesFrom,
    /// Labels of the namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::label_selector")]
    pub selector: Option<LabelSelector>,
    /// Names of the namespaces, or patterns such as team-*, in which * stands for any run of characters, an empty one, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 64),
        inner(length(min = 1, max = 63), regex(pattern = DNS_LABEL_PATTERN)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub names: Option<Vec<String>>,
}

choice! {
    /// How namespaces are chosen.
    #[derive(Default)]
    pub enum NamespacesFrom {
        /// The gateway's own.
        #[default]
        Same,
        /// By label.
        Selector,
        /// By name.
        Names,
        /// Every one.
        All,
    }
}

/// Compute resources of one container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// Most that the container may use, by resource name, for example cpu: 500m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantities")]
    pub limits: Option<BTreeMap<String, IntOrString>>,
    /// What is reserved for the container, by resource name, for example memory: 128Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantities")]
    pub requests: Option<BTreeMap<String, IntOrString>>,
}

/// A span of time as Go and Kubernetes write it: `1h30m`, `250ms`. The API server admits 1 ms to 24 h.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeSpan(String);

impl TimeSpan {
    /// Wraps text; whether it is a span of time is seen by [`TimeSpan::to_duration`].
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The span, exact to the nanosecond; `None` for text that the API server would not have admitted.
    pub fn to_duration(&self) -> Option<std::time::Duration> {
        let mut rest = self.0.as_str();
        let mut total = std::time::Duration::ZERO;
        if rest.is_empty() || rest.len() > 16 {
            return None;
        }
        while !rest.is_empty() {
            let unit_at = rest.find(|c: char| c.is_ascii_alphabetic())?;
            let (number, tail) = rest.split_at(unit_at);
            let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let nanos: u64 = match unit {
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                _ => return None,
            };
            let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(whole) || !digits(fraction) {
                return None;
            }
            let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            let parts = u128::from(nanos) * fraction.parse::<u128>().ok()? / scale;
            let nanos =
                whole.parse::<u64>().ok()?.checked_mul(nanos)?.checked_add(u64::try_from(parts).ok()?)?;
            total = total.checked_add(std::time::Duration::from_nanos(nanos))?;
            rest = tail;
        }
        Some(total)
    }
}

impl JsonSchema for TimeSpan {
    fn schema_name() -> Cow<'static, str> {
        "TimeSpan".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 16,
            // The form is part of the rule, because the message about a pattern is the pattern.
            "x-kubernetes-validations": [{
                "rule": "self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && \
                         duration(self) >= duration('1ms') && duration(self) <= duration('24h')",
                "message": "must be between 1ms and 24h, for example 250ms, 30s or 1h30m",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn spans_of_time_are_read_as_go_reads_them() {
        let read = |text: &str| TimeSpan::new(text).to_duration();
        assert_eq!(read("1h30m"), Some(Duration::from_mins(90)));
        assert_eq!(read("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(read("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(read("0.25h1ms"), Some(Duration::from_millis(900_001)));
        assert_eq!(read("00000000000001ms"), Some(Duration::from_millis(1)));
        for refused in ["", "5", "s", "-1s", "1 s", "1d", "1.s", ".5s", "1s5", "99999999999999h", "1us"] {
            assert_eq!(read(refused), None, "{refused}");
        }
    }
}
