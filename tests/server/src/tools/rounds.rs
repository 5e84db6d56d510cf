//! A tool that asks as often as it is told to. Changes when tests of long conversations need another handle.

use crate::call::{Call, Reply, text};
use crate::input_required::Ask;

use super::{Entry, arguments, entry};

pub(super) fn tools() -> Vec<Entry> {
    vec![entry(
        "test_rounds",
        "Asks one question after the other, so many in all",
        arguments(&[("rounds", "integer")]),
        |call| Box::pin(rounds(call)),
    )]
}

async fn rounds(mut call: Call) -> Reply {
    let count = call.whole("rounds")?;
    let mut answers = Vec::new();
    for round in 1..=count {
        tracing::info!(round, "asking");
        let ask = Ask::strings(&format!("Round {round} of {count}"), &["answer"]);
        let answer = call.inputs.ask(&format!("round{round}"), ask).await?;
        answers.push(answer["content"]["answer"].as_str().unwrap_or("nothing").to_owned());
    }
    text(format!("Answers: {}", answers.join(", ")))
}
