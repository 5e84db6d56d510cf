//! Reasons of Events. Changes when the operator has something else to tell.

use crate::choice::choice;

choice! {
    /// Why an Event was sent. An Event tells of a change; none is sent for each reconcile.
    pub enum EventReason {
        /// A gateway or backend was taken for the first time, or again.
        Accepted,
        /// A gateway or backend was refused.
        Rejected,
        /// Something that is referred to does not exist.
        RefNotFound,
        /// Something that is referred to cannot be used.
        RefInvalid,
        /// Pods refused a part of the configuration.
        ConfigRejected,
        /// Every ready pod has a configuration; at most once a minute.
        Programmed,
        /// A ready pod is more than 30 seconds behind.
        StaleConfig,
        /// The number of pods passed from the operator to an autoscaler, or back.
        ScaledBy,
        /// Somebody else owns a field that the operator would write, and keeps it.
        FieldConflict,
        /// An annotation of a Service cannot be used.
        InvalidAnnotation,
        /// A Service is not served because a backend has its tool namespace.
        ShadowedByBackend,
        /// No gateway takes a Service that says it is a backend, and one that it may mean refuses it.
        NotAllowedByGateway,
        /// A Service is served.
        DiscoveredService,
        /// A pod left with nothing open.
        Drained,
        /// A pod left with requests that it had to give up.
        DrainTimeout,
        /// A field of an owned object was put right.
        DriftCorrected,
        /// The same field had to be put right three times within ten minutes, or is changed whenever it is written.
        DriftLoop,
    }
}

impl EventReason {
    /// Whether somebody should look: `Warning` instead of `Normal`.
    pub const fn is_warning(self) -> bool {
        !matches!(
            self,
            Self::Accepted
                | Self::Programmed
                | Self::ScaledBy
                | Self::DiscoveredService
                | Self::Drained
                | Self::DriftCorrected
        )
    }
}
