//! Which tokens may come next, and which must.
//!
//! The grammar itself is `llguidance`'s work; here it meets the vocabulary, the logits and the sequence.

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use inkstone_text::{Kind, Options, Tokenizer};
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use super::Grammar;
pub(super) use super::gbnf::to_lark;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;

/// A model's vocabulary, ready for grammars. Making it reads every token once; it serves any number of answers.
pub struct Grammars {
    factory: ParserFactory,
    /// A token that ends an answer.
    stop: u32,
}

/// A grammar on its way through one answer.
pub struct Constraint {
    matcher: Matcher,
    /// Tokens that the grammar leaves no choice about, accepted and not yet drawn.
    forced: VecDeque<u32>,
    stop: u32,
    /// Whether a token was drawn.
    begun: bool,
    spent: Duration,
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammars")
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Constraint")
    }
}

impl Grammars {
    /// Those over the vocabulary of a model.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where no token ends an answer.
    pub fn of(model: &Model) -> Result<Grammars> {
        let stops = model.stops();
        let Some(&stop) = stops.first() else {
            let text = "the model has no token that ends an answer: no grammar can end";
            return Err(Error::text(ErrorKind::Unsupported, text));
        };
        let tokenizer = model.tokenizer();
        let words: Vec<Vec<u8>> = (0..model.spec().vocabulary)
            .map(|id| word(tokenizer, id))
            .collect();
        let info = TokRxInfo::new(model.spec().vocabulary, stop);
        let vocabulary = Vocabulary {
            model: model.clone(),
            tree: TokTrie::from(&info, &words).with_eos_tokens(stops),
        };
        let mut factory =
            ParserFactory::new_simple(&(Arc::new(vocabulary) as _)).map_err(refused)?;
        factory.quiet();
        factory.limits_mut().verbose_errors = false;
        Ok(Grammars { factory, stop })
    }

    /// Makes a grammar ready for one answer.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming what is wrong with the grammar or what it has that cannot be held to.
    pub fn constraint(&self, grammar: &Grammar) -> Result<Constraint> {
        let bytes = match grammar {
            Grammar::JsonSchema(schema) => schema.to_string().len(),
            Grammar::Lark(text) | Grammar::Regex(text) => text.len(),
        };
        if bytes > LONGEST {
            let text = format!("a grammar of {bytes} bytes, {LONGEST} are allowed");
            return Err(Error::text(ErrorKind::Invalid, text));
        }
        let grammar = match grammar {
            Grammar::JsonSchema(schema) => {
                TopLevelGrammar::from_json_schema(spaced(schema.clone()))
            }
            Grammar::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
            Grammar::Regex(text) => TopLevelGrammar::from_regex(text),
        };
        let parser = deep(|| self.factory.create_parser(grammar.clone()));
        Ok(Constraint {
            matcher: Matcher::new(Ok(parser.map_err(refused)?)),
            forced: VecDeque::new(),
            stop: self.stop,
            begun: false,
            spent: Duration::ZERO,
        })
    }
}

/// Bytes of a grammar, at most.
const LONGEST: usize = 1 << 18;

/// Bytes of a stack on which the longest chain of rules that fits into [`LONGEST`] is followed by recursion.
const STACK: usize = 128 << 20;

/// What `work` gives, on a stack of its own where a thread can be had.
fn deep<T: Send>(work: impl Fn() -> T + Sync) -> T {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK);
        match thread.spawn_scoped(scope, &work) {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => work(),
        }
    })
}

impl Constraint {
    /// Whether nothing may follow but the end.
    pub fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// Whether the answer may end here.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where the grammar has taken more work than it may.
    pub fn may_end(&mut self) -> Result<bool> {
        self.matcher.is_accepting().map_err(refused)
    }

    /// Goes over as many of these tokens as may come next; how many those are.
    ///
    /// # Errors
    /// As [`Self::may_end`].
    pub fn follow(&mut self, tokens: &[u32]) -> Result<usize> {
        self.matcher.try_consume_tokens(tokens).map_err(refused)
    }

    /// A token that must come next; before the first one is drawn there is none.
    pub(crate) fn next_forced(&mut self) -> Option<u32> {
        if !self.begun {
            return None;
        }
        if self.forced.is_empty() {
            let forced = self.timed(Matcher::consume_ff_tokens);
            self.forced.extend(forced);
        }
        let ended = || self.matcher.is_stopped().then_some(self.stop);
        self.forced.front().copied().or_else(ended)
    }

    /// Takes note that it was drawn.
    pub(crate) fn take_forced(&mut self) {
        self.forced.pop_front();
    }

    /// Makes the logits of all tokens −∞ that may not come next.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<()> {
        self.timed(|matcher| {
            let allowed = matcher.compute_mask_or_eos().map_err(refused)?;
            for (logits, allowed) in logits.chunks_mut(32).zip(allowed.as_slice()) {
                match *allowed {
                    0 => logits.fill(f32::NEG_INFINITY),
                    u32::MAX => (),
                    some => bar(logits, some),
                }
            }
            Ok(())
        })
    }

    /// Time that the grammar has taken since it was made.
    pub fn spent(&self) -> Duration {
        self.spent
    }

    fn timed<T>(&mut self, work: impl FnOnce(&mut Matcher) -> T) -> T {
        let begun = Instant::now();
        let done = work(&mut self.matcher);
        self.spent += begun.elapsed();
        done
    }

    /// Takes note of a token that was drawn by the mask.
    pub(crate) fn accept(&mut self, token: u32) -> Result<()> {
        self.begun = true;
        if self.matcher.is_stopped() {
            return Ok(());
        }
        self.timed(|matcher| matcher.consume_token(token).map_err(refused))
    }
}

/// −∞ for the logits whose bits are not set.
fn bar(logits: &mut [f32], allowed: u32) {
    for (bit, logit) in logits.iter_mut().enumerate() {
        if allowed >> bit & 1 == 0 {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// White space between the parts of a document, where the schema does not say: small models would not come to an end of it.
const SPACE: &str = r"( |\n[ \t]{0,20})?";

fn spaced(mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema
            .entry("x-guidance")
            .or_insert_with(|| json!({"whitespace_pattern": SPACE}));
    }
    schema
}

fn refused(error: impl fmt::Display) -> Error {
    let text = error.to_string();
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    // What announces something is followed by it, at the end of a drawing of where.
    let last = lines.next_back().filter(|_| first.ends_with(':'));
    let last = last.map_or(String::new(), |line| format!(" {}", line.trim()));
    Error::text(ErrorKind::Invalid, format!("grammar: {first}{last}"))
}

/// What a token stands for: its text, behind a mark where it is a name; nothing where no text has it.
fn word(tokenizer: Tokenizer<'_>, id: u32) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    match tokenizer.kind(id) {
        Some(Kind::Control) => [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat(),
        Some(Kind::Normal | Kind::UserDefined | Kind::Byte) => bytes.to_vec(),
        Some(Kind::Unknown | Kind::Unused) | None => Vec::new(),
    }
}

/// A model's tokens as `llguidance` wants them.
struct Vocabulary {
    model: Model,
    tree: TokTrie,
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.tree
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<u32> {
        self.tree.tokenize_with_greedy_fallback(bytes, |text| {
            let mut tokens = Vec::new();
            self.model
                .tokenizer()
                .encode(text, Options::PLAIN, &mut tokens);
            tokens
        })
    }

    /// A text within an answer has no space put before it.
    fn tokenize_is_canonical(&self) -> bool {
        !self.model.tokenizer().prefixes_space()
    }
}
