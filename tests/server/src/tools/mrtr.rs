//! The `test_input_required_result_*` tools: one for each pattern of asking in rounds.
//! In a legacy session the same tools send live requests. Changes when a pattern is added.

use serde_json::Value;

use crate::call::{Call, Reply, text};
use crate::input_required::{Ask, StatePolicy};

use super::input::{outcome, spoken};
use super::{Entry, entry, no_arguments};

pub(super) fn tools() -> Vec<Entry> {
    vec![
        entry("test_input_required_result_elicitation", "Asks for a name", no_arguments(), |mut call| {
            Box::pin(async move {
                let answer = call.inputs.ask("user_name", ask_name()).await?;
                text(match name_in(&answer) {
                    Some(name) => format!("Hello, {name}!"),
                    None => format!("No name: {}", outcome(&answer)),
                })
            })
        }),
        entry(
            "test_input_required_result_sampling",
            "Asks the client's model",
            no_arguments(),
            |mut call| {
                Box::pin(async move {
                    let ask = Ask::Sample("What is the capital of France?".to_owned(), 100);
                    let answer = call.inputs.ask("capital_question", ask).await?;
                    text(spoken(&answer))
                })
            },
        ),
        entry(
            "test_input_required_result_list_roots",
            "Asks for the client's roots",
            no_arguments(),
            |mut call| {
                Box::pin(async move {
                    let answer = call.inputs.ask("client_roots", Ask::Roots).await?;
                    text(format!("Roots: {}", roots_in(&answer)))
                })
            },
        ),
        entry(
            "test_input_required_result_request_state",
            "Asks to confirm, and checks its state",
            no_arguments(),
            |call| Box::pin(confirmed(call, "state-ok")),
        ),
        entry(
            "test_input_required_result_tampered_state",
            "Asks to confirm, and refuses a changed state",
            no_arguments(),
            |call| Box::pin(confirmed(call, "The state was intact")),
        ),
        entry(
            "test_input_required_result_multiple_inputs",
            "Asks for a name, a greeting and the roots at once",
            no_arguments(),
            |call| Box::pin(multiple_inputs(call)),
        ),
        entry(
            "test_input_required_result_multi_round",
            "Asks for a name, then for a color",
            no_arguments(),
            |call| Box::pin(multi_round(call)),
        ),
        entry(
            "test_input_required_result_capabilities",
            "Asks only for what the client declared",
            no_arguments(),
            |call| Box::pin(capabilities(call)),
        ),
    ]
}

/// The usual question for a name.
pub(super) fn ask_name() -> Ask {
    Ask::strings("What is your name?", &["name"])
}

/// The name in an accepted answer.
pub(super) fn name_in(answer: &Value) -> Option<&str> {
    answer["content"]["name"].as_str()
}

async fn confirmed(mut call: Call, verdict: &'static str) -> Reply {
    let ask = Ask::yes_or_no("Please confirm", "ok");
    call.inputs.ask_all(&[("confirm", ask)], StatePolicy::Always).await?;
    text(format!("{verdict}: {}", outcome(&call.inputs.answer("confirm"))))
}

async fn multiple_inputs(mut call: Call) -> Reply {
    let asks = [
        ("user_name", ask_name()),
        ("greeting", Ask::Sample("Generate a greeting".to_owned(), 50)),
        ("client_roots", Ask::Roots),
    ];
    call.inputs.ask_all(&asks, StatePolicy::Always).await?;
    let name = call.inputs.answer("user_name");
    let greeting = call.inputs.answer("greeting");
    let roots = call.inputs.answer("client_roots");
    text(format!("{} {}; roots: {}", spoken(&greeting), name_in(&name).unwrap_or("nobody"), roots_in(&roots)))
}

async fn multi_round(mut call: Call) -> Reply {
    let first = Ask::strings("Step 1: What is your name?", &["name"]);
    call.inputs.ask_all(&[("step1", first)], StatePolicy::Always).await?;
    let second = Ask::strings("Step 2: What is your favorite color?", &["color"]);
    call.inputs.ask_all(&[("step2", second)], StatePolicy::Always).await?;
    let (first, second) = (call.inputs.answer("step1"), call.inputs.answer("step2"));
    let color = second["content"]["color"].as_str().unwrap_or("no color");
    text(format!("{} likes {color}", name_in(&first).unwrap_or("Nobody")))
}

async fn capabilities(mut call: Call) -> Reply {
    let possible = [
        ("user_name", ask_name()),
        ("greeting", Ask::Sample("Generate a greeting".to_owned(), 50)),
        ("client_roots", Ask::Roots),
    ];
    let client = call.inputs.client().clone();
    let asks: Vec<_> = possible.into_iter().filter(|(_, ask)| ask.is_supported_by(&client)).collect();
    if asks.is_empty() {
        return text("The client declared nothing to ask for.");
    }
    call.inputs.ask_all(&asks, StatePolicy::WhenNeeded).await?;
    let asked: Vec<&str> = asks.iter().map(|(key, _)| *key).collect();
    text(format!("Answered: {}", asked.join(", ")))
}

fn roots_in(answer: &Value) -> String {
    let roots = answer["roots"].as_array().map(Vec::as_slice).unwrap_or_default();
    roots.iter().filter_map(|root| root["uri"].as_str()).collect::<Vec<_>>().join(", ")
}
