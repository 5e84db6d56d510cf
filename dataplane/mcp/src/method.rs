//! The method table. Changes when a revision adds or removes a method.

use crate::version::Era;

/// What part of `params` says which backend a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Nothing: the gateway answers, or asks every backend.
    None,
    /// `params.name`: a tool or prompt.
    Name,
    /// `params.uri`: a resource.
    Uri,
    /// `params.ref`: a prompt name or a resource URI.
    Ref,
    /// `params.taskId`.
    TaskId,
}

macro_rules! methods {
    ($($variant:ident $name:literal $legacy:literal $modern:literal $target:ident;)*) => {
        /// A method that some revision defines.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
            /// A method that no revision defines: an extension's, or a mistake.
            Other,
        }

        impl Method {
            /// Every method of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The method that `name` spells.
            pub fn parse(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    _ => Self::Other,
                }
            }

            /// Its name on the wire, or `other`. A bounded set, fit for metric labels.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other => "other",
                }
            }

            /// Whether a client of `era` may send it. Methods outside the table belong to extensions and may pass.
            pub fn exists_in(self, era: Era) -> bool {
                match (self, era) {
                    $((Self::$variant, Era::Legacy) => $legacy,
                      (Self::$variant, Era::Modern) => $modern,)*
                    (Self::Other, _) => true,
                }
            }

            /// What names the backend.
            pub fn target(self) -> Target {
                match self {
                    $(Self::$variant => Target::$target,)*
                    Self::Other => Target::None,
                }
            }
        }
    };
}

// variant, name, sent by legacy clients, sent by modern clients, target
methods! {
    Initialize "initialize" true false None;
    Ping "ping" true false None;
    Discover "server/discover" false true None;
    ToolsList "tools/list" true true None;
    ToolsCall "tools/call" true true Name;
    PromptsList "prompts/list" true true None;
    PromptsGet "prompts/get" true true Name;
    ResourcesList "resources/list" true true None;
    ResourceTemplatesList "resources/templates/list" true true None;
    ResourcesRead "resources/read" true true Uri;
    ResourcesSubscribe "resources/subscribe" true false Uri;
    ResourcesUnsubscribe "resources/unsubscribe" true false Uri;
    Complete "completion/complete" true true Ref;
    SetLevel "logging/setLevel" true false None;
    Listen "subscriptions/listen" false true None;
    TasksGet "tasks/get" true true TaskId;
    TasksResult "tasks/result" true false TaskId;
    TasksList "tasks/list" true false None;
    TasksCancel "tasks/cancel" true true TaskId;
    TasksUpdate "tasks/update" false true TaskId;
    Initialized "notifications/initialized" true false None;
    Cancelled "notifications/cancelled" true true None;
    Progress "notifications/progress" true false None;
    RootsListChanged "notifications/roots/list_changed" true false None;
    Message "notifications/message" false false None;
    ToolsListChanged "notifications/tools/list_changed" false false None;
    PromptsListChanged "notifications/prompts/list_changed" false false None;
    ResourcesListChanged "notifications/resources/list_changed" false false None;
    ResourcesUpdated "notifications/resources/updated" false false Uri;
    ElicitationComplete "notifications/elicitation/complete" false false None;
    Acknowledged "notifications/subscriptions/acknowledged" false false None;
    CreateMessage "sampling/createMessage" false false None;
    Elicit "elicitation/create" false false None;
    RootsList "roots/list" false false None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for method in Method::ALL {
            assert_eq!(Method::parse(method.as_str()), *method);
        }
    }

    #[test]
    fn handshake_methods_are_gone_from_the_modern_era() {
        for name in
            ["initialize", "ping", "logging/setLevel", "resources/subscribe", "tasks/list", "tasks/result"]
        {
            assert!(!Method::parse(name).exists_in(Era::Modern), "{name}");
            assert!(Method::parse(name).exists_in(Era::Legacy), "{name}");
        }
        assert!(!Method::parse("server/discover").exists_in(Era::Legacy));
    }
}
