//! Random legal exchanges, as texts: what is compared is the spelling. Changes when the protocol allows another exchange.

/// What happens in one call of the tool `play`.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// `params.arguments`.
    pub(crate) arguments: String,
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
}

/// What the server does before it answers.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// The members of a progress report but the token.
    Progress(String),
    /// Questions asked at once: those of one round.
    Ask(Vec<Question>),
}

/// A question and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) key: String,
    pub(crate) method: &'static str,
    pub(crate) params: String,
    pub(crate) answer: String,
}

/// How the call ends.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// The members of the result but those of one generation.
    Result(String),
    /// The error object.
    Error(String),
}

/// A small generator (splitmix64): the same exchange for a seed, wherever it runs.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or_default()
    }

    fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// A few texts joined by commas.
    fn list(&mut self, most: usize, mut item: impl FnMut(&mut Self, usize) -> String) -> String {
        let count = self.below(most + 1);
        (0..count).map(|index| item(self, index)).collect::<Vec<_>>().join(self.of(&[",", ", ", " ,\t"]))
    }

    fn number(&mut self) -> &'static str {
        self.of(&[
            "0",
            "-0",
            "1",
            "1.0",
            "1.00",
            "-1.5e-3",
            "1E400",
            "12345678901234567890123",
            "3.141592653589793238",
            "1e+2",
            "0.1",
            "-9007199254740993",
        ])
    }

    fn string(&mut self) -> &'static str {
        self.of(&[
            r#""""#,
            r#""plain""#,
            r#""\u0041\/\u00e9""#,
            "\"é ü \u{1F600}\"",
            r#""\ud83d\ude00""#,
            r#""line\nbreak\ttab\\""#,
            r#""{\"jsonrpc\":\"2.0\",\"id\":1}""#,
            r#""\u2028""#,
            r#""id""#,
        ])
    }

    fn value(&mut self, depth: usize) -> String {
        match self.below(if depth == 0 { 4 } else { 6 }) {
            0 => self.number().to_owned(),
            1 => self.string().to_owned(),
            2 => self.of(&["true", "false"]).to_owned(),
            3 => "null".to_owned(),
            4 => format!("[{}]", self.list(4, |random, _| random.value(depth - 1))),
            _ => self.object(depth),
        }
    }

    /// Keys are numbered: none may come twice.
    fn object(&mut self, depth: usize) -> String {
        let space = self.of(&["", " "]);
        let members = self.list(4, |random, index| {
            let key = random.of(&["k", "id", "method", "result", "é", "_meta", "com.example/x", "\\u0061"]);
            format!("\"{key}{index}\":{space}{}", random.value(depth.saturating_sub(1)))
        });
        format!("{{{space}{members}}}")
    }

    /// Members that nobody has defined, each with a comma before it.
    fn unknown(&mut self) -> String {
        if !self.one_in(3) {
            return String::new();
        }
        let value = self.value(2);
        format!(",{}\"com.example/unknown\" : {value}", self.of(&["", " "]))
    }

    fn block(&mut self) -> String {
        let annotations =
            if self.one_in(3) { r#","annotations":{"audience":["user"],"priority":1.0e0}"# } else { "" };
        let unknown = self.unknown();
        let body = match self.below(6) {
            0 | 1 => format!(r#""type":"text","text":{}"#, self.string()),
            2 => r#""type":"image","data":"iVBORw0KGgo=","mimeType":"image/png""#.to_owned(),
            3 => r#""type": "audio", "data": "UklGRg==", "mimeType": "audio/wav""#.to_owned(),
            4 => format!(
                r#""type":"resource","resource":{{"uri":"test://r/{}","text":{}}}"#,
                self.below(9),
                self.string()
            ),
            _ => r#""type":"resource_link","uri":"test://linked","name":"linked","size":1e3"#.to_owned(),
        };
        format!("{{{body}{annotations}{unknown}}}")
    }

    fn content(&mut self) -> String {
        format!("[{}]", self.list(4, |random, _| random.block()))
    }

    /// The number makes parameters unlike those of any other question of the exchange.
    fn question(&mut self, number: usize) -> Question {
        let unknown = format!(r#"{},"com.example/number":{number}"#, self.unknown());
        let (method, params, answer) = match self.below(4) {
            0 => {
                let limit = self.of(&["1", "100", "1e2"]);
                let prompt = self.string();
                let params = format!(
                    r#"{{"messages":[{{"role":"user","content":{{"type":"text","text":{prompt}}}}}],"maxTokens":{limit}{unknown}}}"#
                );
                let said = self.string();
                let answer = format!(
                    r#"{{"role":"assistant","model":"m","content":{{"type":"text","text":{said}}},"stopReason":"endTurn"{}}}"#,
                    self.unknown()
                );
                ("sampling/createMessage", params, answer)
            }
            1 => {
                let roots = self.list(3, |random, index| {
                    format!(r#"{{"uri":"file:///{index}","name":{}}}"#, random.string())
                });
                let params = format!(r#"{{"com.example/number":{number}}}"#);
                ("roots/list", params, format!(r#"{{"roots":[{roots}]{}}}"#, self.unknown()))
            }
            _ => {
                let bound = self.number();
                let field = self.of(&[
                    r#"{"type":"string","minLength":0}"#,
                    r#"{"type":"boolean","default":true}"#,
                    r#"{ "type": "string", "enum": ["a", "b"], "enumNames": ["A", "B"] }"#,
                    r#"{"type":"string","oneOf":[{"const":"a","title":"A"}]}"#,
                    r#"{"type":"array","items":{"anyOf":[{"const":"x","title":"X"}]}}"#,
                ]);
                let message = self.string();
                let params = format!(
                    r#"{{"mode":"form","message":{message},"requestedSchema":{{"type":"object","properties":{{"f":{field},"n":{{"type":"number","maximum":{bound}}}}}}}{unknown}}}"#
                );
                let answer = match self.below(3) {
                    0 => r#"{"action":"decline"}"#.to_owned(),
                    1 => format!(r#"{{"action":"cancel"{}}}"#, self.unknown()),
                    _ => format!(
                        r#"{{"action":"accept","content":{{"f":{},"n":{}}}}}"#,
                        self.string(),
                        self.number()
                    ),
                };
                ("elicitation/create", params, answer)
            }
        };
        Question { key: format!("key {number}"), method, params, answer }
    }

    fn steps(&mut self) -> Vec<Step> {
        let (mut reported, mut asked) = (0, 0);
        (0..self.below(6))
            .map(|_| {
                if self.one_in(2) {
                    reported += 1;
                    let said = if self.one_in(2) {
                        format!(r#","message":{}"#, self.string())
                    } else {
                        String::new()
                    };
                    let total = self.of(&["", r#","total":1e2"#, r#","total":10.50"#]);
                    return Step::Progress(format!(
                        r#""progress":{reported}.{}{total}{said}"#,
                        self.of(&["0", "50", "25e0"])
                    ));
                }
                let count = 1 + self.below(3);
                let questions = (0..count).map(|_| {
                    asked += 1;
                    self.question(asked)
                });
                Step::Ask(questions.collect())
            })
            .collect()
    }

    fn end(&mut self) -> End {
        if self.one_in(4) {
            // None of the codes that one of the generations has given a meaning.
            let code = self.of(&["-32603", "-32000", "-32602", "42", "-1"]);
            let data = if self.one_in(2) { format!(r#","data":{}"#, self.value(3)) } else { String::new() };
            return End::Error(format!(r#"{{"code":{code},"message":{}{data}}}"#, self.string()));
        }
        let content = self.content();
        let structured = if self.one_in(3) {
            format!(r#","structuredContent":{}"#, self.object(3))
        } else {
            String::new()
        };
        let failed = self.of(&["", r#","isError":true"#, r#", "isError" : false"#]);
        let meta = if self.one_in(3) {
            format!(r#","_meta":{{"com.example/m":{}}}"#, self.value(2))
        } else {
            String::new()
        };
        End::Result(format!(r#""content":{content}{structured}{failed}{meta}{}"#, self.unknown()))
    }
}

impl Exchange {
    /// The exchange of a seed.
    pub(crate) fn random(seed: u64) -> Self {
        let mut random = Random(seed);
        Self { arguments: random.object(3), steps: random.steps(), end: random.end() }
    }

    /// The questions of all rounds.
    pub(crate) fn questions(&self) -> impl Iterator<Item = &Question> {
        self.steps.iter().flat_map(|step| match step {
            Step::Ask(questions) => questions.as_slice(),
            Step::Progress(_) => &[],
        })
    }
}
