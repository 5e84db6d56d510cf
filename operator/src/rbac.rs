//! What the operator may do: one table, from which manifests are written. Changes when the operator asks the API server for
//! something else. Data planes may do nothing at all.

use serde_json::{Value, json};

/// One row.
struct Rule {
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    names: &'static [&'static str],
    verbs: &'static [&'static str],
}

const fn rule(
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule { groups, resources, names: &[], verbs }
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "patch", "delete"];

/// Name of the Secret with the operators' authority.
pub const AUTHORITY: &str = "mcp-bridge-operator-ca";

/// What it reads everywhere, and the status that it writes.
const CLUSTER: &[Rule] = &[
    rule(&["mcp.bridge"], &["mcpgateways", "mcpbackends"], READ),
    rule(&["mcp.bridge"], &["mcpgateways/status", "mcpbackends/status"], &["patch"]),
    rule(&[""], &["services", "namespaces"], READ),
    rule(&["discovery.k8s.io"], &["endpointslices"], &["list", "watch"]),
    rule(&[""], &["secrets", "configmaps"], READ),
    rule(&[""], &["pods"], &["list", "watch"]),
    rule(&["apps"], &["deployments"], READ),
    rule(&["autoscaling"], &["horizontalpodautoscalers"], READ),
    rule(&["policy"], &["poddisruptionbudgets"], READ),
    rule(&["networking.k8s.io"], &["networkpolicies"], READ),
    rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
    rule(&["events.k8s.io"], &["events"], &["create", "patch"]),
    Rule {
        groups: &["apiextensions.k8s.io"],
        resources: &["customresourcedefinitions"],
        names: &["mcpgateways.mcp.bridge", "mcpbackends.mcp.bridge", "servicemonitors.monitoring.coreos.com"],
        verbs: &["get"],
    },
];

/// What it writes where gateways and stdio backends are.
const WORKLOADS: &[Rule] = &[
    // Nothing watches accounts, so one is looked at before it is taken for the operator's own.
    rule(&[""], &["serviceaccounts"], &["get", "create", "patch", "delete"]),
    rule(&[""], &["services", "configmaps", "secrets"], WRITE),
    rule(&["apps"], &["deployments"], WRITE),
    rule(&["autoscaling"], &["horizontalpodautoscalers"], WRITE),
    rule(&["policy"], &["poddisruptionbudgets"], WRITE),
    rule(&["networking.k8s.io"], &["networkpolicies"], WRITE),
    rule(&["monitoring.coreos.com"], &["servicemonitors"], &["get", "create", "patch", "delete"]),
];

/// What it does in its own namespace.
const OWN: &[Rule] = &[
    rule(&["coordination.k8s.io"], &["leases"], &["create"]),
    // Another class has another name, so the names cannot be listed here.
    rule(&["coordination.k8s.io"], &["leases"], &["get", "update"]),
    rule(&[""], &["secrets"], &["create"]),
    Rule { groups: &[""], resources: &["secrets"], names: &[AUTHORITY], verbs: &["get"] },
];

/// The roles and their bindings to the account `mcp-bridge-operator` of a namespace.
pub fn manifests(namespace: &str) -> Vec<Value> {
    let account =
        json!([{ "kind": "ServiceAccount", "name": "mcp-bridge-operator", "namespace": namespace }]);
    let cluster = |name: &str, rules: &[Rule]| {
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": name },
            "rules": rules.iter().map(Rule::document).collect::<Vec<_>>(),
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": account,
        });
        [role, binding]
    };
    let metadata = json!({ "name": "mcp-bridge-operator", "namespace": namespace });
    let own = [
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": OWN.iter().map(Rule::document).collect::<Vec<_>>(),
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "mcp-bridge-operator" },
            "subjects": account,
        }),
    ];
    let mut all = vec![json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata })];
    all.extend(cluster("mcp-bridge-operator", CLUSTER));
    all.extend(cluster("mcp-bridge-operator-workloads", WORKLOADS));
    all.extend(own);
    all
}

impl Rule {
    fn document(&self) -> Value {
        let mut rule = json!({ "apiGroups": self.groups, "resources": self.resources, "verbs": self.verbs });
        if let (false, Some(rule)) = (self.names.is_empty(), rule.as_object_mut()) {
            rule.insert("resourceNames".to_owned(), json!(self.names));
        }
        rule
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_by_a_star_and_nothing_that_grants_more() {
        for rule in CLUSTER.iter().chain(WORKLOADS).chain(OWN) {
            for word in rule.groups.iter().chain(rule.resources).chain(rule.verbs) {
                assert!(
                    !["*", "escalate", "bind", "impersonate", "pods/exec", "nodes"].contains(word),
                    "{word}"
                );
            }
        }
        let writes = |rule: &&Rule| rule.verbs.iter().any(|verb| !READ.contains(verb));
        for rule in CLUSTER.iter().filter(writes) {
            let allowed = ["mcpgateways/status", "mcpbackends/status", "tokenreviews", "events"];
            assert!(rule.resources.iter().all(|resource| allowed.contains(resource)), "{:?}", rule.resources);
        }
    }
}
