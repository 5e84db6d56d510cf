//! Which namespace a message of an original's client is for. Changes when the rule does.
//!
//! The original had one backend per namespace and a fixed rule: what the client named, else `system` for the handshake and
//! for `tools/list`, the text before the first dot for `tools/call`, and `default` for the rest. Its own client names
//! `system` for nearly everything, whatever there is. So `system` and `default` count when such a backend exists, and
//! else, where the original had nothing, everything is served together.

use super::input::{Namespace, params_namespace};
use crate::frame::Frame;
use crate::method::Method;

const SYSTEM: &str = "system";
const DEFAULT: &str = "default";

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To all backends together, under merged names.
    Merged,
    /// To one namespace, nothing renamed. It need not exist: a client that names one gets it, or an error.
    Namespace(Namespace),
}

/// Decides for one message. `named` is the envelope's `target_namespace`, or on TCP in dialect G a valid
/// `params.namespace`; `exists` says whether there is a backend in a namespace.
pub fn decide(named: Option<&Namespace>, frame: &Frame, exists: impl Fn(&str) -> bool) -> Destination {
    let counts = |named: &Namespace| !matches!(named.as_str(), SYSTEM | DEFAULT) || exists(named.as_str());
    if let Some(named) = named.filter(|named| counts(named)) {
        return Destination::Namespace(named.clone());
    }
    let derived = match frame.method() {
        Method::Initialize => SYSTEM.into(),
        Method::Other if frame.method_name() == "shutdown" => SYSTEM.into(),
        Method::ToolsCall => {
            let name = frame.target().unwrap_or(DEFAULT.into());
            name.split_once('.').map_or(name.clone(), |(prefix, _)| prefix.to_owned().into())
        }
        Method::ToolsList => match params_namespace(frame).filter(counts) {
            Some(named) => return Destination::Namespace(named),
            None => SYSTEM.into(),
        },
        _ => DEFAULT.into(),
    };
    match Namespace::parse(&derived) {
        Ok(namespace) if exists(&derived) => Destination::Namespace(namespace),
        _ => Destination::Merged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use bytes::Bytes;

    fn decided(named: Option<&str>, method: &str, params: &str, existing: &[&str]) -> String {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let frame = Frame::parse(Bytes::from(text), &Limits::client(4096, 16)).unwrap();
        let named = named.map(|name| Namespace::parse(name).unwrap());
        match decide(named.as_ref(), &frame, |name| existing.contains(&name)) {
            Destination::Merged => "*".into(),
            Destination::Namespace(namespace) => namespace.as_str().into(),
        }
    }

    #[test]
    fn what_the_client_names_is_what_it_gets() {
        assert_eq!(decided(Some("k8s"), "tools/call", r#"{"name":"git.log"}"#, &["k8s", "git"]), "k8s");
        assert_eq!(decided(Some("gone"), "tools/list", "{}", &["system"]), "gone");
    }

    #[test]
    fn methods_choose_where_nobody_is_named() {
        let existing = &["system", "default", "k8s"];
        assert_eq!(decided(None, "initialize", "{}", existing), "system");
        assert_eq!(decided(None, "shutdown", "{}", existing), "system");
        assert_eq!(decided(None, "tools/list", "{}", existing), "system");
        assert_eq!(decided(None, "tools/list", r#"{"namespace":"k8s"}"#, existing), "k8s");
        assert_eq!(decided(None, "tools/call", r#"{"name":"k8s.pods.list"}"#, existing), "k8s");
        assert_eq!(decided(None, "tools/call", r#"{"name":"k8s"}"#, existing), "k8s");
        assert_eq!(decided(None, "tools/call", "{}", existing), "default");
        assert_eq!(decided(None, "resources/list", "{}", existing), "default");
    }

    #[test]
    fn system_is_a_hint_for_calls() {
        let call = r#"{"name":"k8s.pods"}"#;
        assert_eq!(decided(Some("system"), "tools/call", call, &["system", "k8s"]), "system");
        assert_eq!(decided(Some("system"), "tools/call", call, &["k8s"]), "k8s");
        assert_eq!(decided(Some("system"), "tools/call", call, &["default"]), "*");
    }

    #[test]
    fn without_the_originals_backends_all_are_served_together() {
        for method in ["initialize", "tools/list", "resources/list", "ping"] {
            assert_eq!(decided(Some("system"), method, "{}", &["demo"]), "*", "{method}");
            assert_eq!(decided(Some("default"), method, "{}", &["demo"]), "*", "{method}");
            assert_eq!(decided(None, method, "{}", &["demo"]), "*", "{method}");
        }
        assert_eq!(decided(None, "tools/call", r#"{"name":"demo__echo"}"#, &["demo"]), "*");
        assert_eq!(decided(None, "tools/call", r#"{"name":"a b.c"}"#, &["a b"]), "*", "no namespace");
    }
}
