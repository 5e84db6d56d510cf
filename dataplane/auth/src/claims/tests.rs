use serde_json::{Value, json};

use super::*;

fn at(secs: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(secs)
}

fn rules() -> Rules {
    Rules { issuer: Some("idp".to_owned()), audience: Some("gateway".to_owned()) }
}

/// Claims that pass at 1000, with changes on top; `null` takes a claim out.
fn claims(changes: &Value) -> String {
    let mut all = json!({ "iss": "idp", "aud": "gateway", "sub": "alice", "exp": 2000 });
    for (name, value) in changes.as_object().into_iter().flatten() {
        match value {
            Value::Null => drop(all.as_object_mut().map(|all| all.remove(name))),
            value => all[name] = value.clone(),
        }
    }
    all.to_string()
}

fn judged(changes: &Value) -> Result<Grant, Denial> {
    judge(claims(changes).as_bytes(), &rules(), at(1000))
}

#[test]
fn every_claim_arrives() {
    let grant = judged(&json!({
        "aud": ["other", "gateway"], "nbf": 900, "iat": 1100, "jti": "tok_1", "unknown": { "exp": 1 },
        "scopes": ["mcp:*", "mcp:a:read"], "scope": "mcp:a:read  mcp:b:read",
        "rate_limit": { "requests_per_minute": 60, "burst": 10, "per": "month" },
    }))
    .unwrap();
    let expected = Grant {
        issuer: "idp".to_owned(),
        subject: "alice".to_owned(),
        scopes: ["mcp:*", "mcp:a:read", "mcp:b:read"].map(str::to_owned).to_vec(),
        expires_at: at(2000),
        token_id: Some("tok_1".to_owned()),
        rate_limit: Some(RateLimit { requests_per_minute: Some(60), burst: Some(10) }),
    };
    assert_eq!(grant, expected);
}

#[test]
fn each_defect_has_its_reason() {
    for (changes, denial) in [
        (json!({ "exp": null }), Denial::InvalidClaims),
        (json!({ "exp": "2000" }), Denial::InvalidClaims),
        (json!({ "exp": -1 }), Denial::InvalidClaims),
        (json!({ "exp": 1e300 }), Denial::InvalidClaims),
        (json!({ "exp": 1000 }), Denial::TokenExpired),
        (json!({ "exp": 999.9 }), Denial::TokenExpired),
        (json!({ "nbf": 1001 }), Denial::TokenNotYetValid),
        (json!({ "nbf": 1000.5 }), Denial::TokenNotYetValid),
        (json!({ "nbf": true }), Denial::InvalidClaims),
        (json!({ "iat": "yesterday" }), Denial::InvalidClaims),
        (json!({ "iss": null }), Denial::InvalidIssuer),
        (json!({ "iss": "IDP" }), Denial::InvalidIssuer),
        (json!({ "iss": ["idp"] }), Denial::InvalidClaims),
        (json!({ "aud": null }), Denial::InvalidAudience),
        (json!({ "aud": "gateway2" }), Denial::InvalidAudience),
        (json!({ "aud": [] }), Denial::InvalidAudience),
        (json!({ "aud": ["a", "b"] }), Denial::InvalidAudience),
        (json!({ "aud": [["gateway"]] }), Denial::InvalidClaims),
        (json!({ "sub": null }), Denial::InvalidClaims),
        (json!({ "sub": "" }), Denial::InvalidClaims),
        (json!({ "sub": 7 }), Denial::InvalidClaims),
        (json!({ "scopes": "mcp:*" }), Denial::InvalidClaims),
        (json!({ "rate_limit": 60 }), Denial::InvalidClaims),
        (json!({ "rate_limit": [60, 10] }), Denial::InvalidClaims),
        (json!({ "rate_limit": { "burst": "all" } }), Denial::InvalidClaims),
    ] {
        assert_eq!(judged(&changes), Err(denial), "{changes}");
    }
}

#[test]
fn boundaries_are_exact() {
    assert!(judged(&json!({ "exp": 1000.5, "nbf": 1000 })).is_ok());
}

#[test]
fn claims_must_be_one_object_that_says_nothing_twice() {
    let twice = r#"{"sub":"alice","sub":"root","exp":2000,"iss":"idp","aud":"gateway"}"#;
    for text in ["", "[]", "null", r#""alice""#, "{} {}", "\u{feff}{}", twice] {
        assert_eq!(judge(text.as_bytes(), &rules(), at(1000)), Err(Denial::InvalidClaims), "{text}");
    }
}

#[test]
fn what_is_not_configured_is_not_checked() {
    let open = Rules { issuer: None, audience: None };
    let text = claims(&json!({ "iss": "anybody", "aud": null }));
    assert_eq!(judge(text.as_bytes(), &open, at(1000)).unwrap().issuer, "anybody");
    let text = claims(&json!({ "iss": null }));
    assert_eq!(judge(text.as_bytes(), &open, at(1000)).unwrap().issuer, "");
}

#[test]
fn limits_read_as_in_the_original() {
    for (rates, limit) in [
        (json!({}), None),
        (json!({ "requests_per_minute": 0, "burst": 5 }), None),
        (json!({ "requests_per_minute": 60 }), Some((Some(60), None))),
        (json!({ "requests_per_minute": -1, "burst": 5 }), Some((None, Some(5)))),
        (json!({ "requests_per_minute": 99_999_999_999_i64, "burst": -5 }), Some((Some(u32::MAX), None))),
    ] {
        let limit = limit.map(|(requests_per_minute, burst)| RateLimit { requests_per_minute, burst });
        assert_eq!(judged(&json!({ "rate_limit": rates.clone() })).unwrap().rate_limit, limit, "{rates}");
    }
}
