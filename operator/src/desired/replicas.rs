//! Who decides how many pods a gateway has: the operator or an autoscaler, never both. Changes when the hand-over does.
//!
//! ```text
//!  operator owns ── autoscaler wanted ──▶ apply it ──▶ hold the live number as a second manager ──▶ let go as the first
//!       ▲                                                                                               │
//!       └── write the wanted number ◀── it is gone ◀── delete it ◀── a number is wanted ◀── autoscaler owns
//! ```
//!
//! If the only owner of `spec.replicas` let go of it, the API server would set it to 1, and every session on the other
//! pods would end.

use bridge_api::meta::{HANDOVER_MANAGER, MANAGER};
use bridge_api::v1alpha1::McpGatewaySpec;
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;

use crate::defaults;

/// Who is to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The operator, for this number.
    Fixed(u32),
    /// An autoscaler, that never goes below this number.
    Scaled(u32),
}

/// Autoscalers of the Deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autoscaler {
    /// There is none.
    Absent,
    /// There is ours.
    Ours,
    /// There is somebody else's.
    Foreign,
}

/// What is known of the Deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// Its number of pods.
    pub replicas: u32,
    /// Whether the operator owns the number.
    pub ours: bool,
    /// Whether it holds the number for the time of a hand-over.
    pub held: bool,
    /// Whether somebody has set it through the scale subresource, as autoscalers do.
    pub scaled: bool,
}

/// What to do about an autoscaler of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaler {
    /// Apply it.
    Apply,
    /// Delete it.
    Delete,
    /// There shall be none, and there is none.
    None,
}

/// What to do as the second manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Nothing.
    Nothing,
    /// Own this number for now.
    Number(u32),
    /// Let go of it.
    Release,
}

/// One step. The next one is decided when its effect is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The number in the operator's own document; without one it is somebody else's.
    pub replicas: Option<u32>,
    /// The autoscaler.
    pub scaler: Scaler,
    /// The second manager.
    pub hold: Hold,
    /// Who decides after this step, when that changes with it.
    pub handed: Option<&'static str>,
}

/// What a gateway asks for.
pub fn wanted(spec: &McpGatewaySpec) -> Wanted {
    match &spec.autoscaling {
        Some(own) => Wanted::Scaled(own.min_replicas.unwrap_or(defaults::MIN_REPLICAS.min(own.max_replicas))),
        None => Wanted::Fixed(spec.replicas.unwrap_or(defaults::REPLICAS)),
    }
}

/// The next step from what there is to what is wanted.
pub fn step(wanted: Wanted, live: Option<Live>, autoscaler: Autoscaler) -> Step {
    let stay = Step { replicas: None, scaler: Scaler::None, hold: Hold::Nothing, handed: None };
    let Some(live) = live else {
        // A new Deployment begins with what is wanted; the hand-over follows when it is there.
        let (Wanted::Fixed(first) | Wanted::Scaled(first)) = wanted;
        let scaler = match (wanted, autoscaler) {
            (Wanted::Scaled(_), Autoscaler::Absent | Autoscaler::Ours) => Scaler::Apply,
            _ => Scaler::None,
        };
        return Step { replicas: Some(first), scaler, ..stay };
    };
    match (wanted, autoscaler) {
        (Wanted::Fixed(_), Autoscaler::Ours) => {
            // As long as the autoscaler is there, the number stays whose it is.
            Step { replicas: live.ours.then_some(live.replicas), scaler: Scaler::Delete, ..stay }
        }
        (Wanted::Fixed(number), Autoscaler::Absent) => {
            let handed = (!live.ours).then_some("operator");
            let hold = if live.held { Hold::Release } else { Hold::Nothing };
            // First it owns the number as it is, then it writes the one that is wanted.
            let replicas = if live.ours { number } else { live.replicas };
            Step { replicas: Some(replicas), hold, handed, ..stay }
        }
        (Wanted::Scaled(_), Autoscaler::Absent) => {
            Step { replicas: live.ours.then_some(live.replicas), scaler: Scaler::Apply, ..stay }
        }
        (Wanted::Fixed(least) | Wanted::Scaled(least), Autoscaler::Ours | Autoscaler::Foreign) => {
            let scaler = if autoscaler == Autoscaler::Ours { Scaler::Apply } else { Scaler::None };
            let step = Step { scaler, ..stay };
            match live {
                // Autoscalers do not begin from nothing.
                Live { replicas: 0, .. } if autoscaler == Autoscaler::Ours => {
                    Step { hold: Hold::Number(least), ..step }
                }
                // No pods switch somebody else's autoscaler off, and it does not begin again by itself. Where it scaled to
                // nothing itself, that is its own business.
                Live { replicas, .. } if autoscaler == Autoscaler::Foreign && least == 0 && replicas > 0 => {
                    Step { hold: Hold::Number(0), ..step }
                }
                Live { replicas: 0, held: true, .. } if least > 0 => {
                    Step { hold: Hold::Number(least), ..step }
                }
                Live { ours: true, held: false, .. } => {
                    Step { replicas: Some(live.replicas), hold: Hold::Number(live.replicas), ..step }
                }
                Live { ours: true, held: true, .. } => Step { handed: Some("autoscaler"), ..step },
                Live { held: true, scaled: true, .. } => Step { hold: Hold::Release, ..step },
                Live { .. } => step,
            }
        }
    }
}

/// What is known of a Deployment, from its managed fields.
pub fn live(deployment: &Deployment) -> Live {
    let owns = |manager: &str, scale: bool| {
        deployment.managed_fields().iter().any(|entry| {
            let is_scale = entry.subresource.as_deref() == Some("scale");
            let named = entry.manager.as_deref() == Some(manager);
            let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.pointer("/f:spec/f:replicas"));
            fields.is_some() && is_scale == scale && (named || scale)
        })
    };
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas);
    Live {
        // The API server sets it to 1 where nobody says anything.
        replicas: replicas.and_then(|replicas| u32::try_from(replicas).ok()).unwrap_or(1),
        ours: owns(MANAGER, false),
        held: owns(HANDOVER_MANAGER, false),
        scaled: owns("", true),
    }
}

#[cfg(test)]
mod tests;
