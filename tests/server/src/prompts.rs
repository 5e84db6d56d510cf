//! The prompts. Changes when a prompt is added.

use rmcp::model::{
    ContentBlock, ErrorData, GetPromptResponse, GetPromptResult, JsonObject, Prompt, PromptArgument,
    PromptMessage, ResourceContents, Role,
};
use serde_json::Value;

use crate::call::Stop;
use crate::input_required::{Ask, Inputs};
use crate::samples;
use crate::state::Shared;

const SIMPLE: &str = "test_simple_prompt";
/// The prompt whose arguments can be completed.
pub(crate) const WITH_ARGUMENTS: &str = "test_prompt_with_arguments";
const WITH_RESOURCE: &str = "test_prompt_with_embedded_resource";
const WITH_IMAGE: &str = "test_prompt_with_image";
const WITH_INPUT: &str = "test_input_required_result_prompt";
const EXTRA: &str = "test_extra_prompt";

/// All listed prompts, in a fixed order.
pub(crate) fn list(shared: &Shared) -> Vec<Prompt> {
    let mut prompts = vec![
        prompt(SIMPLE, "A prompt without arguments", &[]),
        prompt(WITH_ARGUMENTS, "A prompt that repeats its two arguments", &["arg1", "arg2"]),
        prompt(WITH_RESOURCE, "A prompt with an embedded resource", &["resourceUri"]),
        prompt(WITH_IMAGE, "A prompt with an image", &[]),
        prompt(WITH_INPUT, "A prompt that asks the user for context", &[]),
    ];
    if shared.world.extra_prompt.is_on() {
        prompts.push(prompt(EXTRA, "Comes and goes with test_trigger_prompt_change", &[]));
    }
    prompts
}

fn prompt(name: &str, description: &str, arguments: &[&str]) -> Prompt {
    let arguments: Vec<PromptArgument> =
        arguments.iter().map(|argument| PromptArgument::new(*argument).with_required(true)).collect();
    Prompt::new(name, Some(description), (!arguments.is_empty()).then_some(arguments))
}

/// Builds one prompt. Unknown names and missing arguments are `-32602`.
pub(crate) async fn get(
    shared: &Shared,
    name: &str,
    arguments: &JsonObject,
    inputs: &mut Inputs,
) -> Result<GetPromptResponse, ErrorData> {
    let argument = |name: &str| {
        arguments.get(name).and_then(Value::as_str).ok_or_else(|| {
            ErrorData::invalid_params(format!("prompt argument {name:?} must be a string"), None)
        })
    };
    let messages = match name {
        SIMPLE => vec![says("This is a simple prompt for testing.")],
        WITH_ARGUMENTS => vec![says(format!(
            "Prompt with arguments: arg1='{}', arg2='{}'",
            argument("arg1")?,
            argument("arg2")?
        ))],
        WITH_RESOURCE => {
            let resource =
                ResourceContents::text("Embedded resource content for testing.", argument("resourceUri")?)
                    .with_mime_type("text/plain");
            vec![shows(ContentBlock::resource(resource)), says("Please process the embedded resource above.")]
        }
        WITH_IMAGE => vec![
            shows(ContentBlock::image(samples::PNG, "image/png")),
            says("Please analyze the image above."),
        ],
        WITH_INPUT => {
            let ask = Ask::strings("What context should the prompt use?", &["context"]);
            match inputs.ask("user_context", ask).await {
                Ok(answer) => {
                    let context = answer["content"]["context"].as_str().unwrap_or("none").to_owned();
                    vec![says(format!("Prompt with context: {context}"))]
                }
                Err(Stop::Ask(result)) => return Ok((*result).into()),
                Err(Stop::Protocol(error)) => return Err(error),
                Err(Stop::Failed(text)) => return Err(ErrorData::internal_error(text, None)),
                Err(Stop::Task(_)) => {
                    return Err(ErrorData::internal_error("a prompt cannot be a task", None));
                }
            }
        }
        EXTRA if shared.world.extra_prompt.is_on() => vec![says("The extra prompt.")],
        _ => return Err(ErrorData::invalid_params(format!("unknown prompt: {name}"), None)),
    };
    Ok(GetPromptResult::new(messages).into())
}

fn says(text: impl Into<String>) -> PromptMessage {
    shows(ContentBlock::text(text))
}

fn shows(content: ContentBlock) -> PromptMessage {
    PromptMessage::new(Role::User, content)
}
