//! The keys that verify tokens: where they come from, and what each of them accepts. Changes when keys get another source
//! or another kind.

use std::fmt;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use bridge_policy::denial::Denial;
use bridge_snapshot::{Jwt, Material};
use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

/// Shortest secret that is as strong as HS256 (RFC 7518, section 3.2), in bytes.
const STRONG_SECRET: usize = 32;
/// Shortest modulus that signatures are verified with (RFC 7518, section 3.3), in bits.
const MIN_MODULUS: usize = 2048;
/// Longest one, in bits: the library takes no signature of a longer one.
const MAX_MODULUS: usize = 8192;
/// How a `SubjectPublicKeyInfo` says RSA (RFC 3279, section 2.3.1), DER.
const RSA_ENCRYPTION: [u8; 11] = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// Where it says so: behind the heads of two sequences. The outer one has a length of two bytes in any key that is long
/// enough.
const ALGORITHM: usize = 4 + 2;
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
    /// The secret has no bytes.
    #[error("the secret of the tokens is empty")]
    EmptySecret,
    /// The secret is one of a Secret that has not come.
    #[error("key `{key}` of the Secret `{secret}`, the secret of the tokens, is not here")]
    SecretAway {
        /// Name of the Secret.
        secret: String,
        /// Key within it.
        key: String,
    },
    /// The file with the secret cannot be read.
    #[error("cannot read the secret of the tokens `{file}`: {source}")]
    UnreadableSecret {
        /// The file, as configured.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
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
    secret: Option<DecodingKey>,
    public: Option<DecodingKey>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = (self.secret.is_some(), self.public.is_some());
        write!(f, "Keys {{ secret: {}, public: {} }}", kinds.0, kinds.1)
    }
}

impl Hash for Keys {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for key in [&self.secret, &self.public] {
            match key.as_ref().map(DecodingKey::kind) {
                None => 0.hash(state),
                Some(DecodingKeyKind::SecretOrDer(bytes)) => (1, bytes).hash(state),
                Some(DecodingKeyKind::RsaModulusExponent { n, e }) => (2, n, e).hash(state),
            }
        }
    }
}

impl Keys {
    /// Loads what `config` names; `env` reads the environment, the file system is read directly. All of it, or an error:
    /// half of a policy is not the policy.
    pub fn load(config: &Jwt, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, KeyError> {
        let secret = config.secret.as_ref().map(|material| read_secret(material, env));
        let public = config.public_key_file.as_deref().map(read_rsa);
        let keys = Self { secret: secret.transpose()?, public: public.transpose()? };
        if keys.secret.is_none() && keys.public.is_none() {
            return Err(KeyError::Nothing);
        }
        Ok(keys)
    }

    /// Whether the secret is shorter than its strongest use asks for: it can be guessed offline from any one token.
    pub fn has_weak_secret(&self) -> bool {
        let secret = self.secret.as_ref().and_then(|key| key.try_get_as_bytes().ok());
        secret.is_some_and(|secret| secret.len() < STRONG_SECRET)
    }

    /// What verifies signatures of `algorithm`, by the key of its kind and no other. The cryptography is handed over
    /// explicitly: no process-wide default is installed or relied on.
    pub(crate) fn verifier(&self, algorithm: Algorithm) -> Result<Box<dyn JwtVerifier>, Denial> {
        let key = match algorithm.family() {
            AlgorithmFamily::Hmac => self.secret.as_ref(),
            AlgorithmFamily::Rsa => self.public.as_ref(),
            AlgorithmFamily::Ec | AlgorithmFamily::Ed => None,
        };
        key.and_then(|key| (DEFAULT_PROVIDER.verifier_factory)(&algorithm, key).ok())
            .ok_or(Denial::UnsupportedAlgorithm)
    }
}

/// Whether `file` holds a public key that [`Keys::load`] would take.
pub fn read_public_key(file: &Path) -> Result<(), KeyError> {
    read_rsa(file).map(drop)
}

fn read_secret(material: &Material, env: &dyn Fn(&str) -> Option<String>) -> Result<DecodingKey, KeyError> {
    let content = match material {
        Material::Env(name) => env(name).unwrap_or_default().into_bytes(),
        Material::Value { value, .. } => value.expose().as_bytes().to_vec(),
        Material::File(file) => {
            let unreadable = |source| KeyError::UnreadableSecret { file: file.clone(), source };
            fs::read(file).map_err(unreadable)?
        }
        Material::Key { secret, key } => {
            return Err(KeyError::SecretAway { secret: secret.clone(), key: key.clone() });
        }
    };
    match (content.is_empty(), material) {
        (false, _) => Ok(DecodingKey::from_secret(&content)),
        (true, Material::Env(_)) => Err(KeyError::NoSecret),
        (true, _) => Err(KeyError::EmptySecret),
    }
}

fn read_rsa(file: &Path) -> Result<DecodingKey, KeyError> {
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

fn parse_rsa(content: &[u8]) -> Result<DecodingKey, &'static str> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(content).map_err(|_| found_instead(content))?;
    let components = DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key;
    let (modulus, exponent) = components(&der).map_err(|_| "it holds a public key of another kind")?;
    if bits(&modulus) < MIN_MODULUS {
        return Err("keys of less than 2048 bits are not accepted");
    }
    if bits(&modulus) > MAX_MODULUS {
        return Err("keys of more than 8192 bits are not accepted");
    }
    // The library would forget that a key is for RSA-PSS alone (RFC 4055, section 1.2).
    if !der.get(ALGORITHM..).is_some_and(|rest| rest.starts_with(&RSA_ENCRYPTION)) {
        return Err("it holds an RSA-PSS key, which is not for RS256, RS384 and RS512");
    }
    Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

/// Length of a big-endian number without leading zero bytes.
fn bits(number: &[u8]) -> usize {
    number.first().map_or(0, |first| 8 * number.len() - first.leading_zeros() as usize)
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
