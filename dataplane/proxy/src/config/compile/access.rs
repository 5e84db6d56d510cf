//! `auth` to access. A policy that is not available refuses everybody: leaving it out would open access.

use bridge_snapshot::Access;

use crate::config::decode::{Context, Located, Problem};
use crate::config::model::auth::{Auth, Provider};

pub(super) fn compile(auth: &Located<Auth>, cx: &mut Context<'_>) -> Access {
    let (at, what) = match &auth.value {
        Auth::Missing => return Access::Anonymous { explicit: false },
        Auth::Section(section) => match section.provider.value {
            Provider::None => return Access::Anonymous { explicit: true },
            provider => {
                let what = match &section.r#type.value {
                    Some(_) if !section.provider.given => "this form of `auth`".to_owned(),
                    _ => format!("`{}` authentication", provider.name()),
                };
                (&section.provider.at, what)
            }
        },
        Auth::List => (&auth.at, "a list of schemes under `auth`".to_owned()),
    };
    let reason = format!(
        "{what} is not available yet; EVERY REQUEST IS REFUSED, because ignoring it would open access"
    );
    cx.warn(at, Problem::new(reason.as_str()).remedy("`provider: none` lets everybody in"));
    Access::Refuse { reason }
}
