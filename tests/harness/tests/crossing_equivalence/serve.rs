//! Servers that play an exchange and note what they observe. Changes with how a generation asks and answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use bridge_tests::Era;
use bridge_tests::fake::{Act, Asked, Events, Fake};
use parking_lot::Mutex;

use crate::exchange::{End, Exchange, Step};
use crate::observe::{Members, Seen, members, without_reserved};

/// A server of one generation.
#[derive(Debug)]
pub(crate) struct Scripted {
    fake: Fake,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[derive(Clone)]
struct Play {
    exchange: Exchange,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Numbers the calls: the ids of questions are never used twice.
    call: usize,
}

impl Scripted {
    /// Serves whatever is the exchange at the time of a call.
    pub(crate) fn start(era: Era, exchange: &Arc<Mutex<Exchange>>) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (exchange, noted, calls) = (Arc::clone(exchange), Arc::clone(&seen), AtomicUsize::new(0));
        let act = move |asked: &Asked| {
            let is_call = members(&asked.body)
                .is_ok_and(|message| message.get("method").is_some_and(|method| method == r#""tools/call""#));
            if !is_call {
                return Act::reply(202, "text/plain", "");
            }
            let call = calls.fetch_add(1, Ordering::AcqRel);
            let play = Play { exchange: exchange.lock().clone(), seen: Arc::clone(&noted), call };
            let asked = asked.clone();
            Act::stream(move |events| match era {
                Era::Modern => play.modern(&asked, events),
                Era::Legacy | Era::Both => play.legacy(&asked, events),
            })
        };
        let fake = if era == Era::Modern { Fake::modern(act)? } else { Fake::legacy(act)? };
        Ok(Self { fake, seen })
    }

    pub(crate) fn url(&self) -> String {
        self.fake.url()
    }

    /// What was observed since the last time.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock())
    }
}

impl Play {
    fn report(token: &str, report: &str, events: &mut Events<'_>) -> Result<()> {
        let params = format!(r#"{{"progressToken":{token},{report}}}"#);
        events
            .send_text(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#))
    }

    fn end(&self, id: &str, modern: &str, events: &mut Events<'_>) -> Result<()> {
        events.send_text(&match &self.exchange.end {
            End::Result(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{{modern}{result}}}}}"#),
            End::Error(error) => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#),
        })
    }

    fn legacy(&self, asked: &Asked, events: &mut Events<'_>) -> Result<()> {
        let (message, params, token) = read(asked)?;
        self.seen.lock().push(Seen::Call(without_reserved(params, &["progressToken"])?));
        for step in &self.exchange.steps {
            let questions = match step {
                Step::Progress(report) => {
                    Self::report(&token, report, events)?;
                    continue;
                }
                Step::Ask(questions) => questions,
            };
            let id = |key: &str| format!(r#""{} of {}""#, key, self.call);
            for question in questions {
                let (id, method, params) = (id(&question.key), question.method, &question.params);
                events.send_text(&format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#
                ))?;
            }
            for question in questions {
                let id = id(&question.key);
                let answer = events.wait_asked(|asked| {
                    let answer = members(&asked.body).unwrap_or_default();
                    answer.get("id") == Some(&id) && !answer.contains_key("method")
                })?;
                let answer = members(&answer.body)?;
                let given = answer.get("result").or_else(|| answer.get("error")).context("an answer")?;
                self.seen.lock().push(Seen::Answer(given.clone()));
            }
        }
        self.end(&message["id"], "", events)
    }

    fn modern(&self, asked: &Asked, events: &mut Events<'_>) -> Result<()> {
        let (message, mut params, token) = read(asked)?;
        let answers = params.remove("inputResponses").map(|answers| members(&answers)).transpose()?;
        // The state is the number of the step that asked.
        let state = params.remove("requestState");
        let call = Seen::Call(without_reserved(params, &["progressToken"])?);
        let mut next = 0;
        if let Some(state) = state {
            let step: usize = serde_json::from_str::<String>(&state)?.parse().context("the state")?;
            let Step::Ask(questions) = &self.exchange.steps[step] else {
                anyhow::bail!("step {step} asks nothing")
            };
            let answers = answers.context("answers")?;
            ensure!(answers.len() == questions.len(), "{answers:?}");
            for question in questions {
                let answer = answers.get(&question.key).with_context(|| question.key.clone())?;
                self.seen.lock().push(Seen::Answer(answer.clone()));
            }
            next = step + 1;
            // Every round repeats the call; that it is the same is noted once.
            let first = self.seen.lock().iter().find(|seen| matches!(seen, Seen::Call(_))).cloned();
            ensure!(first.as_ref() == Some(&call), "first {first:?}, then {call:?}");
        } else {
            ensure!(answers.is_none(), "answers without a state");
            self.seen.lock().push(call);
        }
        for (number, step) in self.exchange.steps.iter().enumerate().skip(next) {
            match step {
                Step::Progress(report) => Self::report(&token, report, events)?,
                Step::Ask(questions) => {
                    let requests: Vec<_> = questions
                        .iter()
                        .map(|question| {
                            let (key, method, params) = (&question.key, question.method, &question.params);
                            format!(r#""{key}":{{"method":"{method}","params":{params}}}"#)
                        })
                        .collect();
                    let result = format!(
                        r#"{{"resultType":"input_required","requestState":"{number}","inputRequests":{{{}}}}}"#,
                        requests.join(",")
                    );
                    return events.send_text(&format!(
                        r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#,
                        message["id"]
                    ));
                }
            }
        }
        self.end(&message["id"], r#""resultType":"complete","#, events)
    }
}

/// The message, its parameters without the name, and the progress token.
fn read(asked: &Asked) -> Result<(Members, Members, String)> {
    let message = members(&asked.body)?;
    let mut params = members(message.get("params").context("params")?)?;
    ensure!(params.remove("name").as_deref() == Some(r#""play""#), "{message:?}");
    let meta = params.get("_meta").map(|meta| members(meta)).transpose()?.unwrap_or_default();
    let token = meta.get("progressToken").context("a progress token")?.clone();
    Ok((message, params, token))
}
