//! Sessions: a sequence of tokens and what follows it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use inkstone_engine as engine;
use inkstone_engine::{Canceller, Generation, Step, text};

use crate::answer::Answer;
use crate::config::{AnswerOptions, Pooling, Sampling};
use crate::error::{InkstoneError, Result, lock};
use crate::model::Model;

/// A sequence of tokens, in memory that is reserved once. Calls come one after another; `cancel` comes at any time.
#[derive(uniffi::Object)]
pub struct Session {
    model: Arc<Model>,
    canceller: Canceller,
    engine: Mutex<engine::Session>,
}

/// A place in a session to go back to.
#[derive(Debug, uniffi::Object)]
pub struct Mark(engine::Mark);

#[uniffi::export]
impl Mark {
    /// Tokens before it.
    pub fn position(&self) -> u32 {
        self.0.position()
    }
}

#[uniffi::export]
impl Session {
    /// Stops the running call, or else the next one that computes; waits for nothing.
    pub fn cancel(&self) {
        self.canceller.cancel();
    }

    /// Takes a `cancel` back that no call has heeded yet; whether there was one.
    pub fn uncancel(&self) -> bool {
        self.canceller.reset()
    }

    /// Appends text, tokenised by itself: a vocabulary that puts a space before a text puts one before each. Nothing is
    /// computed.
    pub fn feed_text(&self, text: &str) -> Result<()> {
        let mut session = lock(&self.engine)?;
        let tokens = if session.position() == 0 {
            self.model.tokenize(text)
        } else {
            let mut tokens = Vec::new();
            let tokenizer = self.model.engine().tokenizer();
            tokenizer.encode(text, text::Options::PLAIN, &mut tokens);
            tokens
        };
        Ok(session.feed(&tokens)?)
    }

    /// Appends tokens; nothing is computed.
    pub fn feed(&self, tokens: &[u32]) -> Result<()> {
        Ok(lock(&self.engine)?.feed(tokens)?)
    }

    /// Makes tokens the whole sequence, keeping what it begins with already; returns how many were kept.
    pub fn prompt(&self, tokens: &[u32]) -> Result<u32> {
        Ok(lock(&self.engine)?.prompt(tokens)?)
    }

    /// Makes text the whole sequence, as `prompt`.
    pub fn prompt_text(&self, text: &str) -> Result<u32> {
        self.prompt(&self.model.tokenize(text))
    }

    /// Makes a conversation the whole sequence, as `prompt`; messages and tools are JSON, as in OpenAI's interface.
    #[uniffi::method(default(tools_json = None))]
    pub fn prompt_chat(&self, messages_json: &str, tools_json: Option<String>) -> Result<u32> {
        let rendered = self.model.render_chat(messages_json, tools_json)?;
        self.prompt(&self.model.tokenize_chat(&rendered))
    }

    /// Begins an answer to what was fed; its `next` computes.
    pub fn answer(self: Arc<Self>, options: &AnswerOptions) -> Result<Arc<Answer>> {
        let mut generation = Generation::new(self.model.engine(), &options.engine())?;
        if let Some(grammar) = &options.grammar {
            generation = generation.within(self.model.constraint(grammar)?);
        }
        Ok(Answer::new(self, generation))
    }

    /// Draws so from now on; the default is greedy choice.
    pub fn set_sampling(&self, sampling: &Sampling) -> Result<()> {
        Ok(lock(&self.engine)?.set_sampling(&sampling.engine())?)
    }

    /// Runs what was fed and returns the logits that follow it, one for each token of the vocabulary.
    pub fn logits(&self) -> Result<Vec<f32>> {
        self.with_logits(<[f32]>::to_vec)
    }

    /// As `logits`: the bytes of the numbers, four each, little-endian.
    pub fn logits_bytes(&self) -> Result<Vec<u8>> {
        self.with_logits(|logits| logits.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// The vector of a text, of length 1 and as wide as the model; of a session for embeddings.
    pub fn embed(&self, tokens: &[u32], pooling: Pooling) -> Result<Vec<f32>> {
        let mut vector = vec![0.0; self.model.engine().spec().width as usize];
        let mut session = lock(&self.engine)?;
        session.embed(tokens, pooling.engine(), true, &mut vector)?;
        Ok(vector)
    }

    /// Tokens in the sequence.
    pub fn position(&self) -> Result<u32> {
        Ok(lock(&self.engine)?.position())
    }

    /// Positions it can hold.
    pub fn context(&self) -> Result<u32> {
        Ok(lock(&self.engine)?.context())
    }

    /// The sequence: fed and drawn tokens that have not been dropped.
    pub fn tokens(&self) -> Result<Vec<u32>> {
        Ok(lock(&self.engine)?.tokens().to_vec())
    }

    /// The end of the sequence, to go back to.
    pub fn mark(&self) -> Result<Arc<Mark>> {
        Ok(Arc::new(Mark(lock(&self.engine)?.mark())))
    }

    /// Forgets all tokens from a mark on.
    pub fn rewind(&self, mark: &Mark) -> Result<()> {
        Ok(lock(&self.engine)?.rewind(mark.0)?)
    }

    /// Forgets all tokens from a position on; 0 forgets all.
    pub fn rewind_to(&self, position: u32) -> Result<()> {
        Ok(lock(&self.engine)?.rewind(position)?)
    }

    /// A session of its own that stands where this one stands.
    pub fn fork(&self) -> Result<Arc<Session>> {
        let other = lock(&self.engine)?.fork()?;
        Ok(Session::new(self.model.clone(), other))
    }

    /// Writes the state to a file, which is whole or not there.
    pub fn save(&self, path: String) -> Result<()> {
        Ok(lock(&self.engine)?.save(Path::new(&path))?)
    }

    /// Takes a saved state over, of the same model and configuration.
    pub fn load(&self, path: String) -> Result<()> {
        Ok(lock(&self.engine)?.load(Path::new(&path))?)
    }
}

impl Session {
    pub(crate) fn new(model: Arc<Model>, session: engine::Session) -> Arc<Session> {
        Arc::new(Session {
            model,
            canceller: session.canceller(),
            engine: Mutex::new(session),
        })
    }

    /// The engine's session, for one call.
    pub(crate) fn engine(&self) -> &Mutex<engine::Session> {
        &self.engine
    }

    fn with_logits<T>(&self, take: impl FnOnce(&[f32]) -> T) -> Result<T> {
        let mut session = lock(&self.engine)?;
        if session.position() == 0 {
            return Err(InkstoneError::invalid("no logits: nothing was fed"));
        }
        if session.done() == session.position() {
            run_last_again(&mut session)?;
        }
        while !matches!(session.advance()?, Step::Ready | Step::Idle) {}
        Ok(take(session.logits(0)))
    }
}

/// Queues the last token, which has been run: where its logits are is not known any more.
fn run_last_again(session: &mut engine::Session) -> Result<()> {
    let end = session.mark();
    let last = end.position() - 1;
    let token = session.tokens()[last as usize];
    session.rewind(last)?;
    session.feed(&[token])?;
    // As far as the sampler is concerned, nothing has happened.
    Ok(session.rewind(end)?)
}
