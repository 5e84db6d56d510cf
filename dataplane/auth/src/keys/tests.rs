use std::time::Duration;

use super::*;

fn config(secret_env: Option<&str>, public_key_file: Option<PathBuf>) -> Jwt {
    Jwt {
        issuer: None,
        audience: None,
        secret_env: secret_env.map(str::to_owned),
        public_key_file,
        per_message: false,
        cache_ttl: Duration::ZERO,
    }
}

fn env(name: &str) -> Option<String> {
    match name {
        "STRONG" => Some("0123456789abcdef0123456789abcdef".to_owned()),
        "WEAK" => Some("hunter2".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

#[test]
fn what_is_named_must_be_there() {
    let failed = |config| Keys::load(&config, &env).unwrap_err().to_string();
    assert!(failed(config(None, None)).contains("neither a secret nor a public key"));
    for name in ["MISSING", "EMPTY"] {
        let text = failed(config(Some(name), None));
        // Not the name: who writes the secret itself there must not find it in the log.
        assert!(text.contains("not set or empty") && !text.contains(name), "{text}");
    }
    let text = failed(config(Some("STRONG"), Some("/nonexistent/key.pem".into())));
    assert!(text.starts_with("cannot read the public key `/nonexistent/key.pem`: "), "{text}");
    let text = failed(config(None, Some("/".into())));
    assert!(text.contains("this is not a file"), "{text}");
}

#[test]
fn a_short_secret_is_noticed_and_none_is_printed() {
    let strong = Keys::load(&config(Some("STRONG"), None), &env).unwrap();
    let weak = Keys::load(&config(Some("WEAK"), None), &env).unwrap();
    assert!(!strong.has_weak_secret() && weak.has_weak_secret());
    assert_eq!(format!("{weak:?}"), "Keys { secret: true, public: false }");
}

const SHORT_RSA: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC9rnuj/SgAzaN6+1Gwuf+FlRG7
T8S6zDPHJOc4+G2uH2PH4p7PPC96oaGwjkGgm+cR/nB4F3Ql8CqQq6zTjJ6XGXpq
mdoaqbnUQ8bqNQQWYPC/21+Aa74FpRbvoh4+Td4YYfcGf7qj2zLCzsKACgqYy1wu
bE57XxcJpmQNqp+ZCQIDAQAB
-----END PUBLIC KEY-----
";

#[test]
fn a_file_that_holds_something_else_says_what_to_do() {
    for (content, words) in [
        ("", "the file is empty"),
        ("ssh-rsa AAAAB3 alice@host\n", "no `BEGIN PUBLIC KEY`"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds a private key"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "openssl x509"),
        ("-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n", "-RSAPublicKey_in"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "another kind"),
        (SHORT_RSA, "less than 2048 bits"),
        ("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n", "no `BEGIN PUBLIC KEY`"),
    ] {
        let problem = parse_rsa(content.as_bytes()).err().unwrap_or_default();
        assert!(problem.contains(words), "{content}: {problem}");
    }
}
