//! The keys that verify tokens: where they come from, and what each of them accepts. Changes when keys get another source
//! or another kind.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::{PublicKey, RsaParameters};
use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
};
use bridge_policy::denial::Denial;
use bridge_snapshot::Jwt;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

use crate::jws::{Algorithm, Hash};

/// Shortest secret that is as strong as HS256 (RFC 7518, section 3.2), in bytes.
const STRONG_SECRET: usize = 32;
/// A public key is a few kilobytes; a larger file is a mistake.
const MAX_FILE: u64 = 64 * 1024;

/// Why there are no keys. Nothing of a key is quoted.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Nothing is named that could verify a token.
    #[error(
        "neither a secret nor a public key is configured; set `auth.jwt.secret_key_env` or `auth.jwt.public_key_path`"
    )]
    Nothing,
    /// The secret is not there.
    #[error("the environment variable that `auth.jwt.secret_key_env` names is not set or empty")]
    NoSecret,
    /// The file cannot be read.
    #[error("cannot read the public key `{file}`: {source}")]
    Unreadable {
        /// The file, as configured.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("`{file}` is no RSA public key: {problem}")]
    NotAKey {
        /// The file, as configured.
        file: PathBuf,
        /// What it is instead, and what to do.
        problem: &'static str,
    },
}

/// The keys of one access policy, ready for use.
pub struct Keys {
    secret: Option<Secret>,
    public: Option<Rsa>,
}

struct Secret {
    sha256: hmac::Key,
    sha384: hmac::Key,
    sha512: hmac::Key,
    strong: bool,
}

struct Rsa {
    sha256: ParsedPublicKey,
    sha384: ParsedPublicKey,
    sha512: ParsedPublicKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = (self.secret.is_some(), self.public.is_some());
        write!(f, "Keys {{ secret: {}, public: {} }}", kinds.0, kinds.1)
    }
}

impl Keys {
    /// Loads what `config` names; `env` reads the environment, the file system is read directly. All of it, or an error:
    /// half of a policy is not the policy.
    pub fn load(config: &Jwt, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, KeyError> {
        let secret = config.secret_env.as_ref().map(|name| {
            let value = env(name).filter(|value| !value.is_empty());
            value.map(|value| Secret::new(value.as_bytes())).ok_or(KeyError::NoSecret)
        });
        let public = config.public_key_file.as_deref().map(read_rsa);
        let keys = Self { secret: secret.transpose()?, public: public.transpose()? };
        if keys.secret.is_none() && keys.public.is_none() {
            return Err(KeyError::Nothing);
        }
        Ok(keys)
    }

    /// Whether the secret is shorter than its strongest use asks for: it can be guessed offline from any one token.
    pub fn has_weak_secret(&self) -> bool {
        self.secret.as_ref().is_some_and(|secret| !secret.strong)
    }

    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), Denial> {
        let outcome = match algorithm {
            Algorithm::Hmac(hash) => {
                let secret = self.secret.as_ref().ok_or(Denial::UnsupportedAlgorithm)?;
                let key = match hash {
                    Hash::Sha256 => &secret.sha256,
                    Hash::Sha384 => &secret.sha384,
                    Hash::Sha512 => &secret.sha512,
                };
                hmac::verify(key, message, signature)
            }
            Algorithm::Rsa(hash) => {
                let public = self.public.as_ref().ok_or(Denial::UnsupportedAlgorithm)?;
                let key = match hash {
                    Hash::Sha256 => &public.sha256,
                    Hash::Sha384 => &public.sha384,
                    Hash::Sha512 => &public.sha512,
                };
                key.verify_sig(message, signature)
            }
        };
        outcome.map_err(|_| Denial::InvalidSignature)
    }
}

impl Secret {
    fn new(value: &[u8]) -> Self {
        Self {
            sha256: hmac::Key::new(hmac::HMAC_SHA256, value),
            sha384: hmac::Key::new(hmac::HMAC_SHA384, value),
            sha512: hmac::Key::new(hmac::HMAC_SHA512, value),
            strong: value.len() >= STRONG_SECRET,
        }
    }
}

/// Whether `file` holds a public key that [`Keys::load`] would take.
pub fn read_public_key(file: &Path) -> Result<(), KeyError> {
    read_rsa(file).map(drop)
}

fn read_rsa(file: &Path) -> Result<Rsa, KeyError> {
    let unreadable = |source| KeyError::Unreadable { file: file.to_owned(), source };
    let metadata = fs::metadata(file).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "this is not a file")));
    }
    if metadata.len() > MAX_FILE {
        return Err(KeyError::NotAKey { file: file.to_owned(), problem: "it is larger than 64 KiB" });
    }
    let content = fs::read(file).map_err(unreadable)?;
    parse_rsa(&content).map_err(|problem| KeyError::NotAKey { file: file.to_owned(), problem })
}

fn parse_rsa(content: &[u8]) -> Result<Rsa, &'static str> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(content).map_err(|_| found_instead(content))?;
    let key = PublicKey::from_der(&der).map_err(|_| "it holds a public key of another kind")?;
    let bits = RsaParameters::public_modulus_len(key.as_ref()).map_err(|_| "it cannot be decoded")?;
    if bits < RSA_PKCS1_2048_8192_SHA256.min_modulus_len() {
        return Err("keys of less than 2048 bits are not accepted");
    }
    let parse = |algorithm| ParsedPublicKey::new(algorithm, &der).map_err(|_| "it cannot be decoded");
    Ok(Rsa {
        sha256: parse(&RSA_PKCS1_2048_8192_SHA256)?,
        sha384: parse(&RSA_PKCS1_2048_8192_SHA384)?,
        sha512: parse(&RSA_PKCS1_2048_8192_SHA512)?,
    })
}

fn found_instead(content: &[u8]) -> &'static str {
    let contains = |text: &str| content.windows(text.len()).any(|window| window == text.as_bytes());
    if content.is_empty() {
        "the file is empty"
    } else if contains("PRIVATE KEY-----") {
        "it holds a private key, which does not belong here; `openssl pkey -in FILE -pubout` gives the public one"
    } else if contains("BEGIN CERTIFICATE-----") {
        "it holds a certificate; `openssl x509 -in FILE -noout -pubkey` gives its key"
    } else if contains("BEGIN RSA PUBLIC KEY-----") {
        "it is in the PKCS#1 form; `openssl rsa -RSAPublicKey_in -in FILE -pubout` gives the usual one"
    } else {
        "there is no `BEGIN PUBLIC KEY` (PEM) in it"
    }
}

#[cfg(test)]
mod tests;
