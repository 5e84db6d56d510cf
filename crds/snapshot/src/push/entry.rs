//! A resource on its way: key, content hash, encoded body. Changes when hashes or keys do.

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// What a resource is. The order is that of application: what is referred to comes before what refers to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResourceType {
    /// Values that must not be seen.
    Secret,
    /// Where a backend is at the moment.
    Endpoints,
    /// A backend.
    Backend,
    /// Everything else; there is one.
    Gateway,
}

impl ResourceType {
    /// As messages spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Endpoints => "endpoints",
            Self::Backend => "backend",
            Self::Gateway => "gateway",
        }
    }
}

/// What a resource is called. Unique within a gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: ResourceType,
    /// Its name within the type.
    pub name: String,
}

impl Key {
    /// A key.
    pub fn new(kind: ResourceType, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind.as_str(), self.name)
    }
}

/// The first 8 bytes of the SHA-256 of a body: equal on every replica of the operator that compiled the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u8; 8]);

impl Version {
    /// Of an encoded body.
    pub fn of(body: &str) -> Self {
        let hash = Sha256::digest(body.as_bytes());
        let mut version = [0; 8];
        version.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        Self(version)
    }
}

/// A fingerprint of a set of resources that does not depend on their order: the XOR of the first 16 bytes of the SHA-256
/// of each type, name and version. Against mistakes; it is no defence against somebody who chooses the resources.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Digest([u8; 16]);

impl Digest {
    /// Adds a resource, or takes it away if it is in.
    pub fn toggle(&mut self, key: &Key, version: Version) {
        let mut hasher = Sha256::new();
        hasher.update(key.kind.as_str());
        hasher.update([0]);
        hasher.update(&key.name);
        hasher.update([0]);
        hasher.update(version.0);
        self.0.iter_mut().zip(hasher.finalize()).for_each(|(to, from)| *to ^= from);
    }
}

/// A resource with its encoded body. It is encoded once and shared by everything that holds it.
#[derive(Clone)]
pub struct Entry {
    /// What it is called.
    pub key: Key,
    /// Hash of the body.
    pub version: Version,
    body: Arc<RawValue>,
}

impl Entry {
    /// Encodes a body. The same value gives the same version everywhere.
    pub fn new<T: Serialize>(key: Key, body: &T) -> Result<Self, serde_json::Error> {
        let body: Arc<RawValue> = Arc::from(serde_json::value::to_raw_value(body)?);
        Ok(Self { key, version: Version::of(body.get()), body })
    }

    /// The body as JSON.
    pub fn body(&self) -> &str {
        self.body.get()
    }

    /// Whether the body is the one that the version was made of.
    pub fn is_intact(&self) -> bool {
        Version::of(self.body()) == self.version
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.version == other.version && self.body() == other.body()
    }
}

impl Eq for Entry {}

/// Without the body: it may hold secrets.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.key, self.version, self.body().len())
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            r#type: ResourceType,
            name: &'a str,
            version: Version,
            body: &'a RawValue,
        }
        Wire { r#type: self.key.kind, name: &self.key.name, version: self.version, body: &self.body }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            r#type: ResourceType,
            name: String,
            version: Version,
            body: Box<RawValue>,
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self { key: Key::new(wire.r#type, wire.name), version: wire.version, body: Arc::from(wire.body) })
    }
}

macro_rules! as_hexadecimal {
    ($type:ident, $bytes:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let expected = || D::Error::custom(concat!("expected ", $bytes, " bytes in hexadecimal"));
                if text.len() != 2 * $bytes || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return Err(expected());
                }
                let mut bytes = [0; $bytes];
                for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
                    let digits = text.get(at..at + 2).ok_or_else(expected)?;
                    *byte = u8::from_str_radix(digits, 16).map_err(D::Error::custom)?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

as_hexadecimal!(Version, 8);
as_hexadecimal!(Digest, 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_knows_what_is_in_it_and_no_order() {
        let (a, b) = (Key::new(ResourceType::Backend, "a"), Key::new(ResourceType::Endpoints, "a"));
        let (one, two) = (Version::of("1"), Version::of("2"));
        let digest = |entries: &[(&Key, Version)]| {
            let mut digest = Digest::default();
            for (key, version) in entries {
                digest.toggle(key, *version);
            }
            digest
        };
        assert_eq!(digest(&[(&a, one), (&b, two)]), digest(&[(&b, two), (&a, one)]));
        assert_ne!(digest(&[(&a, one), (&b, two)]), digest(&[(&a, two), (&b, one)]));
        assert_eq!(digest(&[(&a, one), (&b, two), (&a, one)]), digest(&[(&b, two)]));
    }

    #[test]
    fn a_body_is_never_shown() {
        let entry = Entry::new(Key::new(ResourceType::Secret, "s"), &"hunter2").unwrap();
        assert!(!format!("{entry:?}").contains("hunter2"));
        assert!(entry.is_intact());
        assert!(!Entry { version: Version::of("other"), ..entry }.is_intact());
    }
}
