//! Examples that a model makes up: prompts filled with words drawn by lot, answered many at a time.
//!
//! Record `i` depends on the recipe, the model and `i` alone, so that a file can be gone on with, and made again.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use inkstone_engine::{Drawn, Finish, Model, Params, Sequences};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::random::Random;

/// What is asked, and how answers are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What a user says, one of these by lot; `{name}` stands for a word of that list, the same in all of a record.
    pub prompts: Vec<String>,
    /// What the answer begins with, one of these by lot; it belongs to the answer.
    #[serde(default)]
    pub begin: Vec<String>,
    /// Words by the name of their list.
    #[serde(default)]
    pub words: BTreeMap<String, Vec<String>>,
    /// Most tokens of an answer.
    #[serde(default = "tokens")]
    pub tokens: u32,
    /// What becomes of an answer that is not over by then.
    #[serde(default)]
    pub unfinished: Unfinished,
    /// The shape of a record.
    #[serde(default)]
    pub shape: Shape,
    /// Parameters of `inkstone run`, by their names; `seed` is that of record 0.
    #[serde(default)]
    pub sampling: BTreeMap<String, f64>,
    /// What words, prompts and answers are drawn by.
    #[serde(default)]
    pub seed: u64,
}

fn tokens() -> u32 {
    512
}

/// The shape of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Prompt and answer, as OpenAI's `messages`.
    #[default]
    Messages,
    /// The answer alone, as `text`.
    Text,
}

/// What becomes of an answer that is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unfinished {
    /// It is left out.
    #[default]
    Drop,
    /// It ends with its last whole sentence, if there is one.
    Cut,
}

/// A record, as a line of JSONL has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Made {
    /// Its number.
    pub index: u64,
    /// The line, or nothing where the answer was not over in time.
    pub line: Option<String>,
    /// Tokens that were drawn.
    pub tokens: u32,
}

/// A prompt and the beginning of its answer.
struct Asked {
    prompt: String,
    begin: String,
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// It is no such TOML, or names what is not there.
    pub fn parse(text: &str) -> Result<Recipe> {
        let recipe: Recipe = toml::from_str(text)?;
        ensure!(!recipe.prompts.is_empty(), "`prompts` names no prompt");
        for (name, words) in &recipe.words {
            ensure!(!words.is_empty(), "the list `{name}` of `words` is empty");
        }
        for text in recipe.prompts.iter().chain(&recipe.begin) {
            filled(text, &|name| {
                recipe.words.get(name).map(|words| words[0].as_str())
            })?;
        }
        recipe.params(0)?;
        Ok(recipe)
    }

    /// How the answer of a record is drawn.
    fn params(&self, index: u64) -> Result<Params> {
        let mut params = Params {
            seed: self.seed.wrapping_add(index),
            ..Params::default()
        };
        for (name, value) in &self.sampling {
            let set = params.set(name, *value);
            set.with_context(|| format!("`{name}` of `sampling`"))?;
        }
        Ok(params)
    }

    /// What is asked in a record.
    fn asked(&self, index: u64) -> Result<Asked> {
        let mut random = Random::new(self.seed, &format!("record {index}"));
        let one = |random: &mut Random, all: &[String]| match all.len() {
            0 => String::new(),
            n => all[random.below(n)].clone(),
        };
        let prompt = one(&mut random, &self.prompts);
        let begin = one(&mut random, &self.begin);
        let mut drawn = BTreeMap::new();
        for (name, words) in &self.words {
            drawn.insert(name.as_str(), one(&mut random, words));
        }
        let word = |name: &str| drawn.get(name).map(String::as_str);
        Ok(Asked {
            prompt: filled(&prompt, &word)?,
            begin: filled(&begin, &word)?,
        })
    }
}

/// A text with words in place of their names.
fn filled<'a>(text: &str, word: &impl Fn(&str) -> Option<&'a str>) -> Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            bail!("`{text}`: a brace is not closed");
        };
        let Some(word) = word(name) else {
            bail!("`{text}`: there is no list `{name}` in `words`");
        };
        out.push_str(before);
        out.push_str(word);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The records from `first` up to `end`, each given to `made` when it is whole, by ascending number; that ends the work
/// by returning false.
///
/// # Errors
/// A prompt does not fit the context, the template fails, or a step does.
pub fn generate(
    recipe: &Recipe,
    model: &Model,
    sequences: &mut Sequences,
    (first, end): (u64, u64),
    made: &mut dyn FnMut(Made) -> Result<bool>,
) -> Result<()> {
    let mut work = Work {
        recipe,
        model,
        going: (0..sequences.count()).map(|_| None).collect(),
        whole: BTreeMap::new(),
    };
    let (mut next, mut due) = (first, first);
    loop {
        while let (Some(place), true) = (sequences.idle(), next < end) {
            work.begin(sequences, place, next)
                .with_context(|| format!("record {next}"))?;
            next += 1;
        }
        let Some(drawn) = sequences.step()? else {
            return Ok(());
        };
        let drawn = drawn.to_vec();
        for drawn in drawn {
            work.drawn(sequences, drawn);
        }
        while let Some(whole) = work.whole.remove(&due) {
            due += 1;
            if !made(whole)? {
                return Ok(());
            }
        }
    }
}

/// Records that are being answered, by their sequence, and those that wait for an earlier one.
struct Work<'a> {
    recipe: &'a Recipe,
    model: &'a Model,
    going: Vec<Option<Going>>,
    whole: BTreeMap<u64, Made>,
}

struct Going {
    index: u64,
    asked: Asked,
    /// Tokens before the answer's first.
    prompt: usize,
}

impl Work<'_> {
    fn begin(&mut self, sequences: &mut Sequences, place: u32, index: u64) -> Result<()> {
        let asked = self.recipe.asked(index)?;
        let messages = json!([{"role": "user", "content": asked.prompt}]);
        let mut rendered = self.model.render_chat(&messages, None, true)?;
        rendered.push_str(&asked.begin);
        let tokens = self.model.encode_chat(&rendered);
        sequences.begin(place, &tokens, &self.recipe.params(index)?)?;
        self.going[place as usize] = Some(Going {
            index,
            asked,
            prompt: tokens.len(),
        });
        Ok(())
    }

    fn drawn(&mut self, sequences: &mut Sequences, drawn: Drawn) {
        let place = &mut self.going[drawn.sequence as usize];
        let Some(going) = place else {
            return;
        };
        let answer = &sequences.tokens(drawn.sequence)[going.prompt..];
        if drawn.end.is_none() && answer.len() < self.recipe.tokens as usize {
            return;
        }
        let tokens = answer.len() as u32;
        let text = going.asked.begin.clone() + &self.model.tokenizer().decode(answer);
        let text = match (drawn.end, self.recipe.unfinished) {
            (Some(Finish::Stop(_)), _) => Some(&text[..]),
            (_, Unfinished::Cut) => whole_sentences(&text),
            (_, Unfinished::Drop) => None,
        };
        let line = text.map(|text| record(self.recipe.shape, going, text).to_string());
        let index = going.index;
        self.whole.insert(
            index,
            Made {
                index,
                line,
                tokens,
            },
        );
        *place = None;
        sequences.end(drawn.sequence);
    }
}

/// A text up to the end of its last whole sentence; a point within a number ends none.
fn whole_sentences(text: &str) -> Option<&str> {
    let marks = text.rmatch_indices(['.', '!', '?', '。', '！', '？']);
    let ended = marks.map(|(at, mark)| {
        let rest = &text[at + mark.len()..];
        let rest = rest.trim_start_matches(['"', '\'', '”', '’', ')', '」']);
        let ends = !mark.is_ascii() || !rest.starts_with(char::is_alphanumeric);
        (ends, &text[..text.len() - rest.len()])
    });
    ended
        .into_iter()
        .find(|(ends, _)| *ends)
        .map(|(_, whole)| whole)
}

fn record(shape: Shape, going: &Going, text: &str) -> Value {
    match shape {
        Shape::Text => json!({"index": going.index, "text": text}),
        Shape::Messages => json!({"index": going.index, "messages": [
            {"role": "user", "content": going.asked.prompt},
            {"role": "assistant", "content": text},
        ]}),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const RECIPE: &str = "prompts = ['A {what}?', 'The {what}!']
begin = ['My {what}', '']
seed = 5
[words]
what = ['hen', 'cow', 'pig']
[sampling]
temperature = 0.5";

    #[test]
    fn a_record_depends_on_its_number() {
        let recipe = Recipe::parse(RECIPE).unwrap();
        let asked = |index| {
            let asked = recipe.asked(index).unwrap();
            (asked.prompt, asked.begin)
        };
        assert_eq!(asked(7), asked(7));
        let all: std::collections::HashSet<_> = (0..100).map(asked).collect();
        assert_eq!(all.len(), 12, "every prompt, beginning and word");
        for (prompt, begin) in all {
            let word = begin.strip_prefix("My ").unwrap_or_default();
            assert!(prompt.contains(word), "{prompt}: {begin}");
        }
        assert_eq!(recipe.params(3).unwrap().seed, 8);
    }

    #[test]
    fn a_text_is_cut_behind_its_last_sentence() {
        for (text, cut) in [
            ("A hen. A cow and", Some("A hen.")),
            ("“A hen!” A", Some("“A hen!”")),
            ("It said (no?). It", Some("It said (no?).")),
            ("It costs 3. Not 3.5 and", Some("It costs 3.")),
            ("它很好。它", Some("它很好。")),
            ("A hen and a", None),
        ] {
            assert_eq!(whole_sentences(text), cut);
        }
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        for (from, to, named) in [
            ("A {what}?", "A {who}?", "no list `who`"),
            ("A {what}?", "A {what?", "a brace is not closed"),
            ("['hen', 'cow', 'pig']", "[]", "`what` of `words` is empty"),
            ("temperature = 0.5", "warmth = 0.5", "warmth"),
            ("seed = 5", "sed = 5", "sed"),
        ] {
            let error = Recipe::parse(&RECIPE.replace(from, to)).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(named), "{error}");
        }
    }
}
