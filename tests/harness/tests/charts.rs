//! The charts and `deploy/install.yaml` against the code that they install, as far as that can be seen without Helm; what
//! Helm makes of them is tested in `tests/cluster/tests/cluster/install.rs`. `make charts` writes what is generated. Changes
//! when another part of the charts follows from the code.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use bridge_tests::cargo;
use bridge_tests::gateway::binary;
use serde_json::{Value, json};

const OPERATOR: &str = "charts/mcp-bridge";
const DEFINITIONS: &str = "charts/mcp-bridge-crds";

#[test]
fn what_is_generated_is_what_the_code_says() -> Result<()> {
    let mut all = definitions()?;
    all.extend(rules()?);
    for chart in [OPERATOR, DEFINITIONS] {
        all.push((format!("{chart}/README.md"), readme(chart)?));
    }
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        for (path, text) in all {
            fs::write(cargo::root().join(path), text)?;
        }
        return Ok(());
    }
    for (path, text) in &all {
        ensure!(read(path).is_ok_and(|there| there == *text), "{path} is out of date; run: make charts");
    }
    for folder in [format!("{DEFINITIONS}/templates"), format!("{OPERATOR}/rules")] {
        for entry in fs::read_dir(cargo::root().join(&folder))? {
            let path = format!("{folder}/{}", entry?.file_name().to_string_lossy());
            ensure!(all.iter().any(|(known, _)| *known == path), "{path} stands for nothing in the code");
        }
    }
    Ok(())
}

#[test]
fn charts_have_the_version_of_the_programs() -> Result<()> {
    for chart in [OPERATOR, DEFINITIONS] {
        let about = document(&read(format!("{chart}/Chart.yaml"))?)?;
        for member in ["version", "appVersion"] {
            ensure!(about[member] == env!("CARGO_PKG_VERSION"), "{chart}: {member} is {}", about[member]);
        }
    }
    Ok(())
}

#[test]
fn the_installation_grants_what_the_operator_asks_for_and_nothing_else() -> Result<()> {
    let without_labels = |mut object: Value| {
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("labels");
        }
        object
    };
    let is_grant = |object: &&Value| {
        let role = object["apiVersion"] == "rbac.authorization.k8s.io/v1";
        // Those of people are granted to nobody.
        role && !["mcp-bridge-view", "mcp-bridge-edit"].contains(&name(object))
    };
    let mut asked = BTreeMap::new();
    for object in roles()?.iter().filter(is_grant) {
        asked.insert(identity(object), without_labels(object.clone()));
    }
    let mut granted = BTreeMap::new();
    for object in installation()?.iter().filter(is_grant) {
        granted.insert(identity(object), without_labels(object.clone()));
    }
    for (identity, wanted) in &asked {
        ensure!(
            granted.get(identity) == Some(wanted),
            "{identity} of deploy/install.yaml is not what `mcp-operator rbac` prints; run: make install-yaml"
        );
    }
    assert_eq!((granted.len(), asked.len()), (6, 6));
    Ok(())
}

#[test]
fn the_installation_has_the_definitions() -> Result<()> {
    let is_definition = |object: &&Value| object["kind"] == "CustomResourceDefinition";
    let installed = installation()?;
    let installed: BTreeMap<_, _> =
        installed.iter().filter(is_definition).map(|object| (name(object), object)).collect();
    let mut count = 0;
    for entry in fs::read_dir(cargo::root().join("crds/manifests"))? {
        let wanted = document(&fs::read_to_string(entry?.path())?)?;
        assert_eq!(
            installed.get(name(&wanted)),
            Some(&&wanted),
            "deploy/install.yaml is out of date; run: make install-yaml"
        );
        count += 1;
    }
    assert_eq!((installed.len(), count), (2, 2));
    Ok(())
}

#[test]
fn the_installation_stays_in_its_namespace_and_its_pods_are_restricted() -> Result<()> {
    let all = installation()?;
    let everywhere =
        ["Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"].map(Value::from);
    for object in &all {
        let wanted = if everywhere.contains(&object["kind"]) { Value::Null } else { json!("mcp-system") };
        ensure!(object["metadata"]["namespace"] == wanted, "{}", identity(object));
    }
    let namespace = all.iter().find(|object| object["kind"] == "Namespace").context("a namespace")?;
    ensure!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted");
    let deployments: Vec<_> = all.iter().filter(|object| object["kind"] == "Deployment").collect();
    for deployment in &deployments {
        let pod = &deployment["spec"]["template"]["spec"];
        let identity = identity(deployment);
        ensure!(pod["securityContext"]["runAsNonRoot"] == true, "{identity}");
        ensure!(pod["securityContext"]["runAsUser"] == 65532, "{identity}");
        ensure!(pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", "{identity}");
        for container in pod["containers"].as_array().context("containers")? {
            let wanted = json!({
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": { "drop": ["ALL"] },
            });
            ensure!(container["securityContext"] == wanted, "{identity}: {}", container["securityContext"]);
            let image = container["image"].as_str().unwrap_or_default();
            ensure!(image.rsplit_once(':').is_some_and(|(_, tag)| tag.contains('.')), "{identity}: {image}");
        }
    }
    assert_eq!(deployments.len(), 2, "the operator and Redis");
    Ok(())
}

#[test]
fn the_operator_knows_every_flag_and_variable_that_the_chart_sets() -> Result<()> {
    let help = said(&["run", "--help"])?;
    let all = installation()?;
    let deployment = all.iter().find(|object| identity(object) == "Deployment mcp-bridge-operator");
    let container = &deployment.context("the operator")?["spec"]["template"]["spec"]["containers"][0];
    let flags = container["args"].as_array().context("arguments")?.iter().filter_map(Value::as_str).skip(1);
    let template = read(format!("{OPERATOR}/templates/deployment.yaml"))?;
    let optional = template.lines().filter_map(|line| line.trim().strip_prefix("- --"));
    let optional = optional.map(|flag| format!("--{flag}"));
    for flag in flags.map(ToOwned::to_owned).chain(optional) {
        let flag = flag.split('=').next().unwrap_or_default();
        ensure!(help.split_whitespace().any(|word| word == flag), "mcp-operator run knows no {flag}");
    }
    for variable in container["env"].as_array().context("variables")? {
        let name = variable["name"].as_str().unwrap_or_default();
        ensure!(help.contains(&format!("[env: {name}=")), "mcp-operator run does not read {name}");
    }
    // What the flags that are not set mean is what the ports, the Service and the volume say.
    for default in ["0.0.0.0:9443", "0.0.0.0:9090", "/var/run/secrets/mcp.bridge/token"] {
        ensure!(help.contains(&format!("[default: {default}]")), "{default} is no default any more");
    }
    let mut image = container["env"].as_array().into_iter().flatten();
    let image = image.find(|variable| variable["name"] == "MCP_GATEWAY_IMAGE");
    let image = image.and_then(|variable| variable["value"].as_str()).unwrap_or_default();
    let (name, tag) = image.rsplit_once(':').context("a tag")?;
    ensure!(help.contains(&format!("Without it, {name} of")), "{name} is not the image that programs name");
    ensure!(
        said(&["version"])?.trim() == format!("mcp-operator {tag}"),
        "{tag} is not the program's version"
    );
    Ok(())
}

#[test]
fn the_dockerfile_copies_what_there_is_and_builds_what_there_is() -> Result<()> {
    let (file, packages) = (read("Dockerfile")?, cargo::workspace()?);
    let (mut copied, mut built) = (0, 0);
    for line in file.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("COPY ").filter(|rest| !rest.starts_with("--")) {
            let paths: Vec<_> = rest.split_whitespace().collect();
            for path in paths.split_last().map_or(&[][..], |(_, sources)| sources) {
                ensure!(cargo::root().join(path).exists(), "COPY {path}: there is no such path");
                copied += 1;
            }
        }
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            if word == "-p" {
                let package = words.next().unwrap_or_default();
                ensure!(packages.contains_key(package), "there is no package {package}");
                built += 1;
            }
        }
    }
    ensure!(copied > 5 && built == 2, "{copied} paths and {built} packages: this test sees no Dockerfile");
    let compiler = document_toml(&read("rust-toolchain.toml")?, "channel")?;
    ensure!(
        file.contains(&format!("rust:{compiler}-")),
        "the Dockerfile has another compiler than {compiler}"
    );
    // Every member of the workspace is needed by Cargo to resolve it.
    for member in read("Cargo.toml")?.lines().filter_map(|line| line.trim().strip_prefix('"')) {
        let top = member.split(['/', '"']).next().unwrap_or_default();
        ensure!(file.contains(&format!("COPY {top} {top}")), "the Dockerfile does not copy {top}");
    }
    Ok(())
}

/// The definitions as templates.
fn definitions() -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(cargo::root().join("crds/manifests"))? {
        let path = entry?.path();
        let file = path.file_name().context("a name")?.to_string_lossy().into_owned();
        let text = fs::read_to_string(&path)?;
        let (head, rest) = text.split_once("\nmetadata:\n").context("metadata")?;
        let head = head.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
        let (name, rest) = rest.split_once('\n').context("a name")?;
        // Braces in a description are no template.
        let rest = rest.replace("{{", "{{ \"{{\" }}");
        let template = format!(
            "{{{{- /* Written by `make charts` from crds/manifests. Do not edit. */}}}}\n\
             {{{{- if .Values.crds.install }}}}\n\
             {head}\nmetadata:\n{name}\n\
             \x20 {{{{- if or .Values.crds.keep .Values.commonAnnotations }}}}\n\
             \x20 annotations:\n\
             \x20   {{{{- if .Values.crds.keep }}}}\n\
             \x20   helm.sh/resource-policy: keep\n\
             \x20   {{{{- end }}}}\n\
             \x20   {{{{- with .Values.commonAnnotations }}}}\n\
             \x20   {{{{- toYaml . | nindent 4 }}}}\n\
             \x20   {{{{- end }}}}\n\
             \x20 {{{{- end }}}}\n\
             \x20 {{{{- with .Values.commonLabels }}}}\n\
             \x20 labels:\n\
             \x20   {{{{- toYaml . | nindent 4 }}}}\n\
             \x20 {{{{- end }}}}\n\
             {rest}{{{{- end }}}}\n"
        );
        all.push((format!("{DEFINITIONS}/templates/{file}"), template));
    }
    Ok(all)
}

/// The rules of the operator's roles.
fn rules() -> Result<Vec<(String, String)>> {
    let all = roles()?;
    let confined = documents(&said(&["rbac", "--namespaces", "served"])?)?;
    let files = [
        ("cluster", &all, "ClusterRole mcp-bridge-operator"),
        ("workloads", &all, "ClusterRole mcp-bridge-operator-workloads"),
        ("own", &all, "Role mcp-bridge-operator"),
        ("tokens", &confined, "ClusterRole mcp-bridge-operator-tokens"),
        ("served", &confined, "Role mcp-bridge-operator-served"),
    ];
    let files = files.map(|(file, all, role)| {
        let role = all.iter().find(|object| identity(object) == role).with_context(|| role.to_owned())?;
        let rules = serde_saphyr::to_string(&role["rules"])?;
        let text = format!("# Written by `make charts` from operator/src/rbac.rs. Do not edit.\n{rules}");
        Ok((format!("{OPERATOR}/rules/{file}.yaml"), text))
    });
    files.into_iter().collect()
}

/// The README of a chart, with the table of its values as their comments have it.
fn readme(chart: &str) -> Result<String> {
    const BEGIN: &str = "| value | default | meaning |\n|---|---|---|\n";
    let text = read(format!("{chart}/README.md"))?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("{chart}: no table of values"))?;
    let end = rest.find("\n\n").map_or(rest.len(), |at| at + 1);
    let after = rest.get(end..).unwrap_or_default();
    Ok(format!("{before}{BEGIN}{}{after}", table(&read(format!("{chart}/values.yaml"))?)))
}

/// One row for each key below a comment that begins with two dashes.
fn table(values: &str) -> String {
    let mut rows = String::new();
    let mut path: Vec<&str> = Vec::new();
    let mut meaning = String::new();
    for line in values.lines() {
        let (indent, text) = (line.len() - line.trim_start().len(), line.trim());
        if let Some(comment) = text.strip_prefix("# -- ") {
            comment.clone_into(&mut meaning);
        } else if let Some(comment) = text.strip_prefix("# ") {
            if !meaning.is_empty() {
                let _ = write!(meaning, " {comment}");
            }
        } else if let Some((key, value)) = text.split_once(':').filter(|_| !text.starts_with('-')) {
            path.truncate(indent / 2);
            path.push(key);
            if !meaning.is_empty() {
                let whole = if value.is_empty() {
                    "see `values.yaml`".to_owned()
                } else {
                    format!("`{}`", value.trim())
                };
                let _ = writeln!(rows, "| `{}` | {whole} | {meaning} |", path.join("."));
            }
            meaning.clear();
        }
    }
    rows
}

fn roles() -> Result<Vec<Value>> {
    documents(&said(&["rbac", "--namespace", "mcp-system"])?)
}

fn said(arguments: &[&str]) -> Result<String> {
    let output = Command::new(binary("mcp-operator")?).args(arguments).output()?;
    ensure!(output.status.success(), "mcp-operator {arguments:?}");
    Ok(String::from_utf8(output.stdout)?)
}

fn installation() -> Result<Vec<Value>> {
    documents(&read("deploy/install.yaml")?)
}

fn identity(object: &Value) -> String {
    format!("{} {}", object["kind"].as_str().unwrap_or_default(), name(object))
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn document(yaml: &str) -> Result<Value> {
    Ok(serde_saphyr::from_str(yaml)?)
}

fn documents(yaml: &str) -> Result<Vec<Value>> {
    let all: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
    Ok(all.into_iter().filter(|document| !document.is_null()).collect())
}

/// A text of a TOML file that has the key once.
fn document_toml(toml: &str, key: &str) -> Result<String> {
    let line = toml.lines().find_map(|line| line.split_once('=').filter(|(name, _)| name.trim() == key));
    Ok(line.with_context(|| key.to_owned())?.1.trim().trim_matches('"').to_owned())
}

fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = cargo::root().join(path);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}
