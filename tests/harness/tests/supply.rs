//! What we build on: banned crates, doubled versions, licences. The same rules as `deny.toml`, without another program to
//! install. Changes with a decision about a dependency.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use bridge_tests::cargo;

/// Crates that must not be in any build of ours, with the reason.
const BANNED: [(&str, &str); 7] = [
    ("native-tls", "rustls is the one TLS implementation"),
    ("openssl", "rustls is the one TLS implementation"),
    ("openssl-sys", "rustls is the one TLS implementation"),
    ("ring", "aws-lc-rs is the one cryptographic provider"),
    ("serde_yaml", "unmaintained; serde-saphyr reads YAML"),
    ("serde_yml", "unsound and unmaintained; serde-saphyr reads YAML"),
    ("protobuf", "metrics are text"),
];

/// Crates of which the shipped program may hold two versions, with what will end it.
const DOUBLED: [(&str, &str); 3] = [
    ("base64", "serde-saphyr has moved to 0.23 alone"),
    ("syn", "build time only; derive macros move to 3 one by one"),
    ("untrusted", "jsonwebtoken leaves aws-lc-rs its defaults, which bring 0.7; rustls-webpki has 0.9"),
];

/// Licences that ask for no more than attribution.
const PERMISSIVE: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

#[test]
fn no_build_of_ours_uses_a_banned_crate() -> Result<()> {
    for package in cargo::closure(None, "normal,build,dev")? {
        if let Some((name, reason)) = BANNED.iter().find(|(name, _)| *name == package.name) {
            panic!(
                "{name} {}: {reason}; find its way in with: cargo tree --workspace -i {name}",
                package.version
            );
        }
    }
    Ok(())
}

#[test]
fn the_gateway_holds_one_version_of_each_crate() -> Result<()> {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in cargo::closure(Some("mcp-gateway"), "normal,build")? {
        versions.entry(package.name).or_default().insert(package.version);
    }
    let excused: BTreeSet<_> = DOUBLED.iter().map(|(name, _)| *name).collect();
    let doubled: BTreeMap<_, _> =
        versions.iter().filter(|(name, all)| all.len() > 1 && !excused.contains(name.as_str())).collect();
    assert!(doubled.is_empty(), "{doubled:?}: unify them, or excuse them in DOUBLED with a reason");
    for name in excused {
        let still = versions.get(name).is_some_and(|all| all.len() > 1);
        assert!(still, "{name} is not doubled any more; remove its excuse here and in deny.toml");
    }
    Ok(())
}

#[test]
fn every_licence_is_permissive() -> Result<()> {
    for package in cargo::closure(None, "normal,build,dev")? {
        assert!(
            permits(&package.licence),
            "{} {} is under {:?}, which is not permissive as far as this test knows",
            package.name,
            package.version,
            package.licence
        );
    }
    Ok(())
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    for accepted in
        ["MIT", "MIT/GPL-3.0", "GPL-2.0 OR MIT", "(MIT OR X) AND ISC", "Apache-2.0 WITH LLVM-exception OR X"]
    {
        assert!(permits(accepted), "{accepted}");
    }
    for refused in [
        "",
        "MPL-2.0",
        "MIT AND GPL-3.0",
        "(MIT AND X) OR (ISC AND X)",
        "GPL-2.0 WITH Classpath-exception-2.0",
    ] {
        assert!(!permits(refused), "{refused}");
    }
}

/// Whether an SPDX expression can be satisfied with permissive licences alone. AND binds closer than OR; the old slash
/// means OR.
fn permits(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let verdict = any(&mut rest);
    verdict && rest.is_empty()
}

fn any(words: &mut &[&str]) -> bool {
    let mut verdict = all(words);
    while eat(words, "OR") {
        // Not short-circuit: the right side has to be read either way.
        verdict |= all(words);
    }
    verdict
}

fn all(words: &mut &[&str]) -> bool {
    let mut verdict = one(words);
    while eat(words, "AND") {
        verdict &= one(words);
    }
    verdict
}

fn one(words: &mut &[&str]) -> bool {
    if eat(words, "(") {
        let verdict = any(words);
        return eat(words, ")") && verdict;
    }
    let Some((id, rest)) = words.split_first() else { return false };
    *words = rest;
    if eat(words, "WITH") {
        let Some((exception, rest)) = words.split_first() else { return false };
        *words = rest;
        return PERMISSIVE.contains(&format!("{id} WITH {exception}").as_str());
    }
    PERMISSIVE.contains(id)
}

fn eat(words: &mut &[&str], word: &str) -> bool {
    let found = words.first() == Some(&word);
    if found {
        *words = &words[1..];
    }
    found
}
