use bridge_runtime::drain::Drain;
use bridge_runtime::readiness::Readiness;

use super::*;

fn gateway() -> Arc<Gateway> {
    let drain = Drain::new();
    let readiness = Readiness::new(drain.clone());
    crate::run::build(crate::gateway::without_backends(), drain, &readiness, crate::gateway::Role::Standalone)
        .unwrap()
        .0
}

async fn said(input: &'static [u8]) -> Vec<String> {
    let mut output = Vec::new();
    client(gateway(), CancellationToken::new(), input, &mut output).await;
    String::from_utf8(output).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_was_asked_before_the_end_of_the_input_is_answered() {
    let answers = said(
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}",
    )
    .await;
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert!(answers.iter().any(|answer| answer.contains("\"id\":2")), "a last line needs no end");
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_reading_goes_on() {
    let answers = said(b"nonsense\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n").await;
    assert!(answers[0].contains("-32700"), "{answers:?}");
    assert!(answers[1].contains("\"id\":1"), "{answers:?}");
}
