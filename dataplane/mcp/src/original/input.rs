//! Values that clients of the original send beside their messages, and how large they may be. Changes when a limit does.
//!
//! The limits are the original's where they protect something, and wider where it refused what JSON-RPC allows: an id may
//! be any string, a method any printable one.

use std::fmt;

use crate::frame::Frame;
use crate::limits::Limits;
use crate::scan::{Kind, Scanner, Span, decode_string, kind_of};

/// Bytes of an id, a method or a namespace.
const MAX_NAME: usize = 255;
/// Bytes of a token.
const MAX_TOKEN: usize = 4096;

/// A value that is refused. The text starts as the original's did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInput {
    /// The request's id.
    #[error("Invalid request ID: {0}")]
    Id(&'static str),
    /// The method.
    #[error("Invalid method: {0}")]
    Method(&'static str),
    /// The namespace.
    #[error("Invalid namespace: {0}")]
    Namespace(&'static str),
    /// The token.
    #[error("Invalid token: {0}")]
    Token(&'static str),
}

/// A routing key that a client named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace(Box<str>);

impl Namespace {
    /// Checks length and characters: letters, digits, `.`, `_`, `-`, and no `..`.
    pub fn parse(text: &str) -> Result<Self, InvalidInput> {
        let fail = |why| Err(InvalidInput::Namespace(why));
        if text.is_empty() {
            return fail("it is empty");
        }
        if text.len() > MAX_NAME {
            return fail("it is longer than 255 bytes");
        }
        if text.contains("..")
            || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        {
            return fail("only letters, digits, `.`, `_` and `-` are allowed, and no `..`");
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A credential. It prints nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// Takes a token with or without the word `Bearer` before it; `None` when it is empty.
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidInput> {
        let bare = match text.split_at_checked(7) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer ") => rest,
            _ => text,
        };
        let bare = bare.trim_matches(' ');
        if bare.len() > MAX_TOKEN {
            return Err(InvalidInput::Token("it is longer than 4096 bytes"));
        }
        if bare.contains(['\0', '\r', '\n']) {
            return Err(InvalidInput::Token("it holds a control character"));
        }
        Ok((!bare.is_empty()).then(|| Self(bare.into())))
    }

    /// The token itself, for whoever verifies it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Checks id and method of a request or notification.
pub fn check(frame: &Frame) -> Result<(), InvalidInput> {
    if let Some(raw) = frame.raw_id() {
        check_id(raw)?;
    }
    if frame.is_response() {
        return Ok(());
    }
    let method = frame.method_name();
    if method.is_empty() {
        return Err(InvalidInput::Method("it is empty"));
    }
    if method.len() > MAX_NAME {
        return Err(InvalidInput::Method("it is longer than 255 bytes"));
    }
    if method.contains("..") || method.contains(char::is_control) {
        return Err(InvalidInput::Method("`..` and control characters are not allowed"));
    }
    Ok(())
}

fn check_id(raw: &[u8]) -> Result<(), InvalidInput> {
    let length = match kind_of(raw) {
        Some(Kind::String) => decode_string(raw).map_or(usize::MAX, |text| text.len()),
        _ => raw.len(),
    };
    if length == 0 {
        return Err(InvalidInput::Id("it is empty"));
    }
    if length > MAX_NAME {
        return Err(InvalidInput::Id("it is longer than 255 bytes"));
    }
    Ok(())
}

/// Where a string member of `params` stands that only the original's clients send: its range in `params`, and those.
fn param<'a>(frame: &'a Frame, name: &str) -> Option<(&'a [u8], Span)> {
    let params = frame.raw(frame.envelope().params.as_ref()?.members.span)?;
    // The message has passed the limits of its connection already.
    let limits = Limits { max_bytes: usize::MAX, max_depth: usize::MAX, unique_keys: false };
    let mut found = None;
    let mut scanner = Scanner::new(params, &limits).ok()?;
    scanner
        .object(|scanner, key| {
            let value = scanner.value()?;
            if decode_string(key.of(params)).as_deref() == Some(name) {
                found = Some(value);
            }
            Ok(())
        })
        .ok()?;
    found.map(|span| (params, span))
}

/// `params.namespace`, when it is a valid one; anything else there is ignored, as it was.
pub fn params_namespace(frame: &Frame) -> Option<Namespace> {
    let (params, span) = param(frame, "namespace")?;
    Namespace::parse(&decode_string(span.of(params))?).ok()
}

/// `params.token` of the handshake; `None` when there is none.
pub fn params_token(frame: &Frame) -> Result<Option<Token>, InvalidInput> {
    let Some((params, span)) = param(frame, "token") else { return Ok(None) };
    match decode_string(span.of(params)) {
        Some(text) => Token::parse(&text),
        None => Err(InvalidInput::Token("it must be a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn frame(text: String) -> Frame {
        Frame::parse(Bytes::from(text), &Limits::client(1 << 16, 16)).unwrap()
    }

    #[test]
    fn a_token_is_read_with_or_without_its_scheme() {
        for text in ["t.o.k", "Bearer t.o.k", "bearer t.o.k", "Bearer  t.o.k "] {
            assert_eq!(Token::parse(text).unwrap().unwrap().expose(), "t.o.k", "{text}");
        }
        assert_eq!(Token::parse("").unwrap(), None);
        assert_eq!(Token::parse("Bearer ").unwrap(), None);
        assert!(Token::parse("a\nb").is_err());
        assert!(Token::parse(&"x".repeat(4097)).is_err());
        assert!(!format!("{:?}", Token::parse("secret")).contains("secret"));
    }

    #[test]
    fn namespaces_hold_to_the_originals_alphabet() {
        for good in ["k8s", "a.b_c-d", "X"] {
            assert_eq!(Namespace::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a..b", "a/b", "ä", "a b", &"x".repeat(256)] {
            assert!(Namespace::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn any_string_up_to_the_limit_is_an_id() {
        let long = "é".repeat(127);
        for id in ["1", "\"a:b\"", "\"req.1\"", &format!("\"{long}\"")] {
            check(&frame(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"notifications/roots/list_changed"}}"#
            )))
            .unwrap();
        }
        for id in ["\"\"", &format!("\"{long}ab\"")] {
            let error =
                check(&frame(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#))).unwrap_err();
            assert!(error.to_string().starts_with("Invalid request ID: "), "{error}");
        }
    }

    #[test]
    fn methods_are_bounded() {
        for method in ["", "a..b", "a\\u0000", &"m".repeat(256)] {
            let error =
                check(&frame(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#))).unwrap_err();
            assert!(error.to_string().starts_with("Invalid method: "), "{error}");
        }
    }

    #[test]
    fn members_of_params_are_found_and_odd_ones_ignored() {
        let with =
            |params| frame(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}"#));
        let both = with(r#"{"a":{"namespace":"no"},"namespace":"k8s","token":"Bearer T"}"#);
        assert_eq!(params_namespace(&both).unwrap().as_str(), "k8s");
        assert_eq!(params_token(&both).unwrap().unwrap().expose(), "T");
        assert_eq!(params_namespace(&with(r#"{"namespace":"a b"}"#)), None);
        assert_eq!(params_namespace(&with(r#"{"namespace":7}"#)), None);
        assert_eq!(params_token(&with("{}")), Ok(None));
        assert!(params_token(&with(r#"{"token":7}"#)).is_err());
    }
}
