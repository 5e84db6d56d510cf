//! What of a backend clients see, and what they need to use it. Changes when something else of it can be hidden, guarded or
//! replaced.

use bridge_api::condition::Accepted;
use bridge_api::v1alpha1::McpBackendSpec;
use bridge_api::v1alpha1::backend::{Filter, ToolOverride};
use bridge_policy::exposure;
use bridge_snapshot::{Annotations, Exposure, Pattern};

use super::finding::Problem;

/// The rules of a backend, of which pods can apply every one.
pub(super) fn exposure(spec: &McpBackendSpec) -> Result<Exposure, Problem> {
    let tools = spec.tools.as_ref();
    let rules = Exposure {
        tools: filter(tools.map(|tools| &tools.filter)),
        resources: filter(spec.resources.as_ref()),
        prompts: filter(spec.prompts.as_ref()),
        required_scopes: tools.and_then(|tools| tools.required_scopes.clone()).unwrap_or_default(),
        overrides: tools
            .and_then(|tools| tools.overrides.as_ref())
            .into_iter()
            .flatten()
            .map(|change| (change.name.clone(), override_of(change)))
            .collect(),
    };
    match exposure::Exposure::compile(&rules) {
        Ok(_) => Ok(rules),
        Err(error) => {
            let reason = match error {
                exposure::ExposureError::Scope { .. } | exposure::ExposureError::Renamed { .. } => {
                    Accepted::Invalid
                }
                _ => Accepted::InvalidRegex,
            };
            Err(Problem::spec(reason, in_spec(&error)))
        }
    }
}

fn filter(spec: Option<&Filter>) -> bridge_snapshot::Filter {
    let Some(spec) = spec else { return bridge_snapshot::Filter::default() };
    bridge_snapshot::Filter {
        include: patterns(spec.include.as_ref(), spec.include_regex.as_ref()),
        exclude: patterns(spec.exclude.as_ref(), spec.exclude_regex.as_ref()).unwrap_or_default(),
    }
}

/// `None` when neither is given: an empty list says something else.
fn patterns(exact: Option<&Vec<String>>, regex: Option<&Vec<String>>) -> Option<Vec<Pattern>> {
    let names = exact.into_iter().flatten().cloned().map(Pattern::Exact);
    let expressions = regex.into_iter().flatten().cloned().map(Pattern::Regex);
    (exact.is_some() || regex.is_some()).then(|| names.chain(expressions).collect())
}

fn override_of(spec: &ToolOverride) -> bridge_snapshot::ToolOverride {
    let annotations = spec.annotations.as_ref().map(|spec| Annotations {
        title: spec.title.clone(),
        read_only_hint: spec.read_only_hint,
        destructive_hint: spec.destructive_hint,
        idempotent_hint: spec.idempotent_hint,
        open_world_hint: spec.open_world_hint,
    });
    bridge_snapshot::ToolOverride {
        name: spec.rename.clone(),
        description: spec.description.clone(),
        annotations: annotations.unwrap_or_default(),
    }
}

/// The error with the fields as users write them.
fn in_spec(error: &exposure::ExposureError) -> String {
    use exposure::ExposureError;
    match error {
        ExposureError::Regex { field, pattern } => {
            format!("spec.{field}Regex: `{pattern}` is no regular expression of RE2")
        }
        ExposureError::TooLarge { field } => format!("spec.{field}Regex: the expressions are too large"),
        ExposureError::Renamed { name } => {
            format!("spec.tools.overrides: two tools are renamed to `{name}`")
        }
        ExposureError::Scope { scope } => {
            format!("spec.tools.requiredScopes: `{scope}` is no scope (RFC 6749, 3.3)")
        }
    }
}
