//! The reasons of each condition: part of the API, because programs compare them. Changes when a condition can have
//! another cause.

use super::ConditionType;

/// What a reason says about its condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be said yet.
    Unknown,
}

/// A reason of one type of condition.
pub trait Reason: Copy {
    /// The condition that it belongs to.
    const TYPE: ConditionType;

    /// What it says about the condition.
    fn verdict(self) -> Verdict;

    /// As status shows it.
    fn as_str(self) -> &'static str;

    /// What it means, for documents.
    fn meaning(self) -> &'static str;
}

/// One row of the table of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The condition.
    pub condition: ConditionType,
    /// What the reason says about it.
    pub verdict: Verdict,
    /// The reason.
    pub reason: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

macro_rules! reasons {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($verdict:ident $reason:ident = $meaning:literal,)+ }
    )+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub enum $name {
                $(#[doc = concat!($meaning, ".")] $reason,)+
            }

            impl $name {
                /// Every reason of the condition.
                pub const ALL: &[Self] = &[$(Self::$reason,)+];
            }

            impl Reason for $name {
                const TYPE: ConditionType = ConditionType::$name;

                fn verdict(self) -> Verdict {
                    match self {
                        $(Self::$reason => Verdict::$verdict,)+
                    }
                }

                fn as_str(self) -> &'static str {
                    match self {
                        $(Self::$reason => stringify!($reason),)+
                    }
                }

                fn meaning(self) -> &'static str {
                    match self {
                        $(Self::$reason => $meaning,)+
                    }
                }
            }
        )+

        /// Every reason of every condition, in the order of this file.
        pub fn words() -> Vec<Word> {
            fn row<R: Reason>(reason: &R) -> Word {
                Word {
                    condition: R::TYPE,
                    verdict: reason.verdict(),
                    reason: reason.as_str(),
                    meaning: reason.meaning(),
                }
            }
            let mut words = Vec::new();
            $(words.extend($name::ALL.iter().map(row));)+
            words
        }
    };
}

reasons! {
    /// Reasons of `Accepted`, on gateways and backends.
    Accepted {
        True Accepted = "the specification is valid and is served",
        False Invalid = "the specification contradicts itself in a way that the API server cannot see, or the API server refuses an object that is made from it",
        False InvalidRegex = "a regular expression cannot be compiled",
        False UnsupportedProtocol = "the data plane of this version does not speak the protocol",
        False NotAllowedByGateway = "a gateway that the backend names does not admit the backend's namespace",
        False NoMatchingGateway = "no gateway takes the backend",
        False ToolNamespaceConflict = "an older backend of the same gateway has the tool namespace",
        False StdioForbidden = "the gateway's stdioPolicy does not allow such a backend",
        False ClassMismatch = "every gateway that the backend names belongs to another installation",
        False NameConflict = "an object that the operator would create exists and belongs to somebody else",
    }

    /// Reasons of `ResolvedRefs`, on gateways, listeners and backends.
    ResolvedRefs {
        True ResolvedRefs = "everything that is referred to exists and can be used",
        False SecretNotFound = "a Secret or ConfigMap does not exist, or the operator may not read it",
        False KeyNotFound = "a Secret or ConfigMap lacks the key",
        False InvalidCertificate = "a certificate or key cannot be read, or they do not belong together",
        False ServiceNotFound = "the Service does not exist",
        False PortNotFound = "the Service has no such port",
    }

    /// Reasons of `Programmed`, on gateways and backends.
    Programmed {
        True Programmed = "every ready pod serves a configuration that contains this generation",
        Unknown Pending = "pods have not answered yet",
        False PartiallyAcknowledged = "some ready pods do not serve this generation yet",
        False Rejected = "a pod refused this generation and serves the last good one",
        False OperatorDegraded = "the operator cannot see the cluster and compiles nothing new",
    }

    /// Reasons of `Ready`, on gateways and listeners.
    Ready {
        True Ready = "clients are served",
        Unknown Pending = "pods are starting",
        False DeploymentUnavailable = "fewer pods are available than wanted, by more than one",
        False ListenerNotReady = "a listener is not open: its certificates cannot be used, or a ready pod could not open it",
        False Refusing = "every client is refused, because the rules about who may enter cannot be applied",
        False NoAddress = "the Service has no address yet",
    }

    /// Reasons of `Available`, on backends.
    Available {
        True Available = "most pods have a healthy endpoint",
        Unknown Pending = "pods have not reported yet",
        False NoEndpoints = "there is no endpoint",
        False AllEndpointsUnhealthy = "no endpoint passes its health check",
        False AuthenticationFailed = "the server refuses the gateway's credential",
        False ProtocolMismatch = "the server does not speak the protocol",
    }

    /// Reasons of `SessionStorage`, on gateways.
    SessionStorage {
        True NotNeeded = "one pod keeps its own sessions",
        False InMemoryWithReplicas = "several pods keep their own sessions, which end with their pod",
    }

    /// Reasons of `Degraded`, on gateways and backends: what is true is bad.
    Degraded {
        False AsExpected = "nothing is reduced",
        True PartialBackends = "some of the gateway's backends are not served",
        True InsecureSettings = "a setting gives up protection, for example an origin of * or a certificate that is not checked",
        True StaleConfig = "a ready pod has been behind for a long time",
        True StdioReplicaCapped = "a shared process cannot be replicated, so fewer pods run than wanted",
        True FieldsNotInForce = "fields of the specification are accepted that this version does not act on; the message names them",
    }
}
