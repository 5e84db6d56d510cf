//! Tokens that expire sooner than the API server lets them. Changes when a token says something else.
//!
//! The API server issues none for less than ten minutes, and judges those that it is shown by their signature and their end.
//! With its key one that it has issued is made to end sooner; everything else in it stays.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::jiff::Timestamp;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::namespace::STATE;

/// The token, good for `lifetime` from `now` on.
pub(super) fn shorten(token: &str, lifetime: Duration, now: Timestamp) -> Result<String> {
    let key = fs::read(PathBuf::from(STATE).join("pki/sa.key"))?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&key)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der())?;
    let (header, rest) = token.split_once('.').context("no token")?;
    let (claims, _) = rest.split_once('.').context("no claims")?;
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    claims["exp"] = json!((now + lifetime).as_second());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}
