//! `auth` to access. A policy that cannot be applied refuses everybody: leaving it out would open access.
//!
//! Changes when a provider starts to work.

use std::time::Duration;

use bridge_snapshot::{Access, Material};

use super::{FileUse, Role};
use crate::config::decode::{At, Context, Located, Problem};
use crate::config::model::auth::{Auth, AuthSection, Provider};

/// Documented variables with the secret, for configurations that name no key.
const SECRETS: [&str; 2] = ["JWT_SECRET_KEY", "MCP_JWT_SECRET_KEY"];

pub(super) fn compile(auth: &Located<Auth>, files: &mut Vec<FileUse>, cx: &mut Context<'_>) -> Access {
    let section = match &auth.value {
        Auth::Missing => return Access::Anonymous { explicit: false },
        Auth::List => return not_available(&auth.at, "a list of schemes under `auth`", cx),
        Auth::Section(section) => section,
    };
    let provider = &section.provider;
    match provider.value {
        Provider::None => Access::Anonymous { explicit: true },
        _ if section.r#type.is_some() && !provider.given => {
            not_available(&provider.at, "this form of `auth`", cx)
        }
        Provider::Jwt => jwt(section, files, cx),
        other => not_available(&provider.at, &format!("`{}` authentication", other.name()), cx),
    }
}

fn not_available(at: &At, what: &str, cx: &mut Context<'_>) -> Access {
    refuse(at, &format!("{what} is not available yet"), "`provider: none` lets everybody in", cx)
}

fn refuse(at: &At, what: &str, remedy: &str, cx: &mut Context<'_>) -> Access {
    let reason = format!("{what}; EVERY REQUEST IS REFUSED, because ignoring it would open access");
    cx.warn(at, Problem::new(reason.as_str()).remedy(remedy));
    Access::Refuse { reason }
}

/// The name of a variable for a message, unless it may be the secret itself, written in the wrong place.
fn shown(name: &str) -> String {
    let usual = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if name.contains('_') && name.bytes().all(usual) {
        format!("the environment variable `{name}`")
    } else {
        "the environment variable of this name (its name belongs here, not the secret)".to_owned()
    }
}

fn jwt(section: &AuthSection, files: &mut Vec<FileUse>, cx: &mut Context<'_>) -> Access {
    let keys = &section.jwt.value;
    let is_set = |name: &str, cx: &Context<'_>| (cx.env)(name).is_some_and(|value| !value.is_empty());
    let mut secret_env = keys.secret_key_env.value.clone().filter(|name| !name.is_empty());
    if let Some(name) = &secret_env
        && !is_set(name, cx)
    {
        let variable = shown(name);
        let problem = Problem::new(format!(
            "{variable} is not set; a gateway that starts without it refuses every request"
        ));
        cx.warn(&keys.secret_key_env.at, problem.remedy("set it to the secret that signs the tokens"));
    }
    let public_key_file = keys.public_key_path.value.clone().filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = &public_key_file {
        files.push(FileUse {
            at: keys.public_key_path.at.clone(),
            path: path.clone(),
            role: Role::PublicKey,
        });
    }
    if secret_env.is_none() && public_key_file.is_none() {
        secret_env = SECRETS.iter().find(|name| is_set(name, cx)).map(|name| (*name).to_owned());
        if secret_env.is_none() {
            let remedy =
                "set `auth.jwt.secret_key_env`, `auth.jwt.public_key_path`, or the variable `JWT_SECRET_KEY`";
            return refuse(&section.provider.at, "`jwt` authentication has no key", remedy, cx);
        }
    }
    let audience = &keys.audience;
    if audience.is_empty() {
        let problem = "no audience is required: tokens that were made for other services are taken, too";
        cx.warn(&audience.at, Problem::new(problem).remedy("name this gateway as its issuer does"));
    }
    let required = |name: &Located<String>| Some(name.value.clone()).filter(|name| !name.is_empty());
    Access::Jwt(bridge_snapshot::Jwt {
        issuer: required(&keys.issuer),
        audience: required(audience),
        secret: secret_env.map(Material::Env),
        public_key_file,
        per_message: *section.per_message_auth,
        cache_ttl: Duration::from_secs(section.per_message_auth_cache.0 as u64),
    })
}
