//! From examples to tokens, and which of them are learnt: by the chat template that the runtime renders with.

use anyhow::{Context as _, Result, bail, ensure};
use inkstone_engine::Model;
use inkstone_engine::text::Options;
use inkstone_engine::text::template::{self, Context};
use serde_json::Value;

use crate::data::Example;
use crate::pack::Sample;

/// Makes samples of examples.
pub struct Sampler<'a> {
    model: &'a Model,
    template: Option<&'a str>,
    bos: String,
    eos: String,
    length: usize,
    /// What happened on the way.
    pub counts: Counts,
}

/// What happened to examples on their way to samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Examples seen.
    pub examples: usize,
    /// Samples made.
    pub samples: usize,
    /// Tokens of all samples.
    pub tokens: usize,
    /// Tokens that are learnt.
    pub learnt: usize,
    /// Samples that were cut to the length.
    pub cut: usize,
    /// Samples left out, since nothing of them would be learnt.
    pub empty: usize,
}

impl core::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.examples += other.examples;
        self.samples += other.samples;
        self.tokens += other.tokens;
        self.learnt += other.learnt;
        self.cut += other.cut;
        self.empty += other.empty;
    }
}

/// A stretch of a rendered conversation.
struct Stretch {
    text: String,
    learnt: bool,
}

impl<'a> Sampler<'a> {
    /// For a model; samples have at most `length` tokens.
    ///
    /// # Errors
    /// The model's template cannot be read.
    pub fn new(model: &'a Model, length: usize) -> Result<Sampler<'a>> {
        let tokenizer = model.tokenizer();
        let name = |token: Option<u32>| {
            let bytes = token.and_then(|id| tokenizer.token_bytes(id));
            String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
        };
        Ok(Sampler {
            model,
            template: model.template()?,
            bos: name(tokenizer.bos()),
            eos: name(tokenizer.eos()),
            length,
            counts: Counts::default(),
        })
    }

    /// The samples of all examples.
    ///
    /// # Errors
    /// Names the example that the template refuses.
    pub fn samples(&mut self, examples: &[Example]) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for (index, example) in examples.iter().enumerate() {
            self.counts.examples += 1;
            let made = self
                .sample(example)
                .with_context(|| format!("example {}", index + 1))?;
            for sample in made {
                let vocabulary = self.model.spec().vocabulary;
                if let Some(token) = sample.tokens.iter().find(|token| **token >= vocabulary) {
                    bail!(
                        "example {}: token {token} is not of the model's {vocabulary}; the tokenizer knows more than the model",
                        index + 1
                    );
                }
                self.keep(sample, &mut samples);
            }
        }
        Ok(samples)
    }

    /// Cuts a sample to the length, if it is longer.
    pub fn cut(&self, sample: &mut Sample) -> bool {
        let longer = sample.tokens.len() > self.length;
        sample.tokens.truncate(self.length);
        sample.learnt.truncate(self.length);
        longer
    }

    fn keep(&mut self, mut sample: Sample, to: &mut Vec<Sample>) {
        self.counts.cut += usize::from(self.cut(&mut sample));
        if sample.labels() == 0 {
            self.counts.empty += 1;
            return;
        }
        self.counts.samples += 1;
        self.counts.tokens += sample.tokens.len();
        self.counts.learnt += sample.labels();
        to.push(sample);
    }

    /// One example as a sample; a text, which ends with what ends texts, as several where it is longer than the length.
    ///
    /// # Errors
    /// The template refuses the conversation, or does not write it turn after turn.
    pub fn sample(&self, example: &Example) -> Result<Vec<Sample>> {
        match example {
            Example::Text(text) => {
                let mut tokens = self.model.encode(text);
                tokens.extend(self.model.tokenizer().eos());
                let pieces = tokens.chunks(self.length.max(2));
                Ok(pieces.map(|piece| Sample::whole(piece.to_vec())).collect())
            }
            Example::Chat { messages, tools } => {
                let stretches = self.stretches(messages, tools.as_ref())?;
                Ok(vec![self.encode(&stretches)])
            }
        }
    }

    /// The conversation, cut where the assistant begins and ends to speak.
    fn stretches(&self, messages: &[Value], tools: Option<&Value>) -> Result<Vec<Stretch>> {
        let mut stretches: Vec<Stretch> = Vec::new();
        let mut written = String::new();
        for (index, message) in messages.iter().enumerate() {
            if message["role"] != "assistant" {
                continue;
            }
            let asked = self.render(&messages[..index], tools, true)?;
            let answered = self.render(&messages[..=index], tools, false)?;
            let before = asked.strip_prefix(&written);
            let answer = answered.strip_prefix(&asked);
            let (Some(before), Some(answer)) = (before, answer) else {
                bail!(
                    "the chat template writes turn {} otherwise than it asks for it",
                    index + 1
                );
            };
            stretches.push(Stretch {
                text: before.to_owned(),
                learnt: false,
            });
            stretches.push(Stretch {
                text: answer.to_owned(),
                learnt: learns(message),
            });
            written = answered;
        }
        ensure!(!stretches.is_empty(), "no turn is the assistant's");
        Ok(stretches)
    }

    fn render(&self, messages: &[Value], tools: Option<&Value>, asks: bool) -> Result<String> {
        let source = self.template.context(
            "the model is a base model without chat template; train it on texts, or use one that chats",
        )?;
        let context = Context {
            messages: Value::Array(messages.to_vec()),
            tools: tools.cloned(),
            add_generation_prompt: asks,
            bos_token: self.bos.clone(),
            eos_token: self.eos.clone(),
            ..Context::default()
        };
        Ok(template::render(source, &context)?)
    }

    /// Stretch by stretch, as the runtime tokenises a prompt and then draws an answer. An answer is learnt up to the
    /// token that ends it.
    fn encode(&self, stretches: &[Stretch]) -> Sample {
        let (mut sample, mut written) = (Sample::default(), String::new());
        for stretch in stretches {
            written.push_str(&stretch.text);
            let all = self.model.encode_chat(&written);
            let tokens = match all.strip_prefix(&sample.tokens[..]) {
                Some(tokens) => tokens.to_vec(),
                // A token would reach from the stretch before into this one.
                None => self.continued(&stretch.text),
            };
            let stop = tokens
                .iter()
                .position(|token| self.model.stops().contains(token));
            let end = stop.map_or(tokens.len(), |stop| stop + 1);
            let learnt = (0..tokens.len()).map(|i| stretch.learnt && i < end);
            sample.learnt.extend(learnt);
            sample.tokens.extend(tokens);
        }
        sample
    }

    fn continued(&self, text: &str) -> Vec<u32> {
        let options = Options {
            parse_special: true,
            add_bos: Some(false),
            add_eos: Some(false),
        };
        let mut tokens = Vec::new();
        self.model.tokenizer().encode(text, options, &mut tokens);
        tokens
    }
}

/// Whether an assistant's turn is learnt: our `loss` and OpenAI's `weight` may say that it is not.
fn learns(message: &Value) -> bool {
    let weight = message["weight"].as_f64().map(|weight| weight != 0.0);
    message["loss"].as_bool().or(weight).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_turn_may_say_that_it_is_not_learnt() {
        assert!(learns(&json!({"content": "a"})));
        assert!(learns(&json!({"content": "a", "weight": 1})));
        assert!(!learns(&json!({"content": "a", "weight": 0})));
        assert!(!learns(&json!({"content": "a", "loss": false})));
        assert!(learns(&json!({"content": "a", "loss": true, "weight": 0})));
    }
}
