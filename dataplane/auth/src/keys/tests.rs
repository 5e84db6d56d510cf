use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

fn config(secret_env: Option<&str>, public_key_file: Option<PathBuf>) -> Jwt {
    Jwt {
        issuer: None,
        audience: None,
        secret: secret_env.map(|name| Material::Env(name.to_owned())),
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

const RSA_PSS: &str = "-----BEGIN PUBLIC KEY-----
MIIBIDALBgkqhkiG9w0BAQoDggEPADCCAQoCggEBAO76MXafzW7s+ScaUIEokTQc
UiUZwMup76OlGlJtQxE2TXPsIRIkA4q8LojdgHqn25ULT8/HaZ2/HOFFQ/CRaMOg
bbU2YznTT5wi+GSn7TXU/wO2xvj3DuG4hl44Umnw7nECIGl1QbTalzIKg3TNsGOk
umMx+JD/mBLApkY80e9nIOqbKSNYmtyf+fdeDvm8AFOsyP95jIvbRCsLBhFSVAJ8
7H/cLheZu38/0cB9NYQ63ru1lQkdZvAlZnvoLCESduh/oD0/ir4LxZs30h1dJhpt
dtbX8jHQyLlTh9QT59NA4oRWF/9Ou3gGLTBmQ3cXTrEj4NP28KFkPF7RiTsbYNcC
AwEAAQ==
-----END PUBLIC KEY-----
";

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

/// A `SubjectPublicKeyInfo` (RFC 3279, 2.3.1) with a modulus of this length, all ones.
fn spki(bits: usize, exponent: u8) -> Vec<u8> {
    let algorithm = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
    // A zero byte first where the first one would read as a sign.
    let mut modulus = vec![0xff; bits / 8 + 1];
    modulus[0] = (1 << (bits % 8)) - 1;
    let key = der(0x30, &[der(2, &modulus), der(2, &[exponent])].concat());
    der(0x30, &[algorithm.to_vec(), der(3, &[&[0], &key[..]].concat())].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [.., high, low] = content.len().to_be_bytes();
    let head = match content.len() {
        ..128 => vec![tag, low],
        128..256 => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head, content].concat()
}

#[test]
fn keys_of_each_length_that_signatures_are_verified_with_are_taken() {
    for bits in [2048, 2049, 3072, 4096, 8192] {
        assert!(parse_rsa(pem(&spki(bits, 3)).as_bytes()).is_ok(), "{bits}");
    }
}

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
        (RSA_PSS, "an RSA-PSS key"),
        (&pem(&spki(2047, 3)), "less than 2048 bits"),
        (&pem(&spki(8193, 3)), "more than 8192 bits"),
        // Anybody could sign for it.
        (&pem(&spki(2048, 1)), "another kind"),
        ("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----\n", "no `BEGIN PUBLIC KEY`"),
    ] {
        let problem = parse_rsa(content.as_bytes()).err().unwrap_or_default();
        assert!(problem.contains(words), "{content}: {problem}");
    }
}
