//! Argument completion. Changes when something completable is added.

use rmcp::model::{CompleteRequestParams, CompleteResult, CompletionInfo, ErrorData, Reference};

use crate::{prompts, resources};

const PROMPT_VALUES: [&str; 4] = ["alpha", "beta", "gamma", "test"];
const TEMPLATE_VALUES: [&str; 3] = ["1", "123", "456"];

/// The known values that start with what was typed. A reference to nothing completable is `-32602`.
pub(crate) fn complete(request: &CompleteRequestParams) -> Result<CompleteResult, ErrorData> {
    let argument = request.argument.name.as_str();
    let known: &[&str] = match &request.r#ref {
        Reference::Prompt(prompt) if prompt.name == prompts::WITH_ARGUMENTS => match argument {
            "arg1" | "arg2" => &PROMPT_VALUES,
            _ => return Err(nothing(argument)),
        },
        Reference::Resource(template) if template.uri == resources::TEMPLATE => match argument {
            "id" => &TEMPLATE_VALUES,
            _ => return Err(nothing(argument)),
        },
        _ => return Err(nothing(argument)),
    };
    let typed = request.argument.value.as_str();
    let values =
        known.iter().filter(|value| value.starts_with(typed)).map(|value| (*value).to_owned()).collect();
    let completion = CompletionInfo::with_all_values(values)
        .map_err(|error| ErrorData::internal_error(format!("too many values: {error}"), None))?;
    Ok(CompleteResult::new(completion))
}

fn nothing(argument: &str) -> ErrorData {
    ErrorData::invalid_params(format!("nothing is known to complete argument {argument:?} here"), None)
}
