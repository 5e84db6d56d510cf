//! What the operator may do: one table, from which manifests are written. Changes when the operator asks the API server for
//! something else. Data planes may do nothing at all.

use serde_json::{Value, json};

use crate::layout;

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
    rule(&["mcp.bridge"], &["mcpgateways", "mcpbackends"], &["list", "watch"]),
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
    // Nothing watches accounts, so one is looked at before it is taken for the operator's own. Accounts and ConfigMaps go
    // only with their gateway, which is not the operator's work.
    rule(&[""], &["serviceaccounts"], &["get", "create", "patch"]),
    rule(&[""], &["configmaps"], &["create", "patch"]),
    rule(&[""], &["services", "secrets"], WRITE),
    rule(&["apps"], &["deployments"], WRITE),
    rule(&["autoscaling"], &["horizontalpodautoscalers"], WRITE),
    rule(&["policy"], &["poddisruptionbudgets"], WRITE),
    rule(&["networking.k8s.io"], &["networkpolicies"], WRITE),
    rule(&["monitoring.coreos.com"], &["servicemonitors"], &["get", "create", "patch", "delete"]),
];

/// What it does in its own namespace.
const OWN: &[Rule] = &[
    rule(&["coordination.k8s.io"], &["leases"], &["create"]),
    rule(&[""], &["secrets"], &["create"]),
    Rule { groups: &[""], resources: &["secrets"], names: &[AUTHORITY], verbs: &["get", "patch"] },
];

/// What no Role of a namespace can grant, for an installation that is confined to some namespaces: pods show their tokens.
const TOKENS: &[Rule] = &[rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"])];

/// Resources of the whole cluster.
const UNCONFINED: [&str; 3] = ["namespaces", "tokenreviews", "customresourcedefinitions"];

/// The Lease of a class, which is there when it has been created; no name can be asked for before (Kubernetes, RBAC).
const LEASE: Rule = rule(&["coordination.k8s.io"], &["leases"], &["get", "update"]);

/// The roles and their bindings to the account `mcp-bridge-operator` of a namespace, of an operator of `class`: for the whole
/// cluster, or for some namespaces.
pub fn manifests(namespace: &str, class: &str, confined: &[String]) -> Vec<Value> {
    let name = "mcp-bridge-operator";
    let mut all = vec![json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": name, "namespace": namespace },
    })];
    let documents = |rules: &[Rule]| rules.iter().map(Rule::document).collect::<Vec<_>>();
    let mut own = documents(OWN);
    own.push(LEASE.named(&layout::lease(class)));
    if confined.is_empty() {
        all.extend(granted(namespace, name, None, &documents(CLUSTER)));
        all.extend(granted(namespace, &format!("{name}-workloads"), None, &documents(WORKLOADS)));
    } else {
        all.extend(granted(namespace, &format!("{name}-tokens"), None, &documents(TOKENS)));
        let rules: Vec<_> = CLUSTER.iter().chain(WORKLOADS).filter_map(Rule::confined).collect();
        for served in confined {
            // Beside the role for the operator's own namespace, which may be one of them.
            all.extend(granted(namespace, &format!("{name}-served"), Some(served), &rules));
        }
        own.push(rule(&[""], &["namespaces"], &["get"]).named(namespace));
    }
    all.extend(granted(namespace, name, Some(namespace), &own));
    all
}

/// A role and its binding: of a namespace, or of the whole cluster.
fn granted(account: &str, name: &str, of: Option<&str>, rules: &[Value]) -> [Value; 2] {
    let (kind, metadata) = match of {
        Some(namespace) => ("Role", json!({ "name": name, "namespace": namespace })),
        None => ("ClusterRole", json!({ "name": name })),
    };
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": format!("{kind}Binding"),
        "metadata": metadata,
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name },
        "subjects": [{ "kind": "ServiceAccount", "name": "mcp-bridge-operator", "namespace": account }],
    });
    [role, binding]
}

impl Rule {
    /// As far as a Role of a namespace can grant it.
    fn confined(&self) -> Option<Value> {
        let mut document = self.document();
        let left = self.resources.iter().filter(|resource| !UNCONFINED.contains(resource));
        let left: Vec<_> = left.collect();
        if left.is_empty() {
            return None;
        }
        document["resources"] = json!(left);
        Some(document)
    }

    /// For one object, whose name is not known here.
    fn named(&self, name: &str) -> Value {
        let mut document = self.document();
        document["resourceNames"] = json!([name]);
        document
    }

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
