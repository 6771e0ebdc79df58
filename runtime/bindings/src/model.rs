//! Models and their text.

use std::path::Path;
use std::sync::{Arc, Mutex};

use inkstone_engine as engine;
use inkstone_engine::{Constraint, Grammars};

use crate::config::{Grammar, Plan, SessionConfig};
use crate::error::{InkstoneError, Result, lock};
use crate::session::Session;

/// An `.ink` file, mapped and checked; any number of sessions share it.
#[derive(uniffi::Object)]
pub struct Model {
    engine: engine::Model,
    /// The vocabulary, ready for grammars, once one was asked for.
    grammars: Mutex<Option<Grammars>>,
}

impl core::fmt::Debug for Model {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.engine.fmt(f)
    }
}

#[uniffi::export]
impl Model {
    /// Maps a file and checks its tables; no weight is read.
    #[uniffi::constructor]
    pub fn open(path: String) -> Result<Arc<Model>> {
        Ok(Arc::new(Model {
            engine: engine::Model::open(Path::new(&path))?,
            grammars: Mutex::new(None),
        }))
    }

    /// This model with an adapter's file beside those it has, scaled; both share the mapped file, and so may any number.
    #[uniffi::method(default(scale = 1.0))]
    pub fn attach(&self, adapter: String, scale: f32) -> Result<Arc<Model>> {
        let adapter = engine::Adapter::open(Path::new(&adapter))?;
        Ok(Arc::new(Model {
            engine: self.engine.attach(&[(adapter, scale)])?,
            grammars: Mutex::new(None),
        }))
    }

    /// The name in the file, or else that of the file.
    pub fn name(&self) -> String {
        self.engine.name()
    }

    /// Positions that it was trained for.
    pub fn context(&self) -> u32 {
        self.engine.spec().context
    }

    /// Tokens that there are.
    pub fn vocabulary(&self) -> u32 {
        self.engine.spec().vocabulary
    }

    /// Whether the model knows conversations: a base model does not.
    pub fn has_template(&self) -> bool {
        self.engine.has_template()
    }

    /// Reads the whole file and compares its hashes.
    pub fn verify(&self) -> Result<()> {
        Ok(self.engine.verify(&mut |_, _| {})?)
    }

    /// What a session of this configuration will take; nothing is reserved.
    pub fn plan(&self, config: &SessionConfig) -> Result<Plan> {
        Ok(self.engine.plan(&config.engine())?.into())
    }

    /// The tokens of plain text, with what begins a text before it where the vocabulary says so.
    pub fn tokenize(&self, text: &str) -> Vec<u32> {
        self.engine.encode(text)
    }

    /// The tokens of a rendered conversation: names of control tokens become the tokens.
    pub fn tokenize_chat(&self, rendered: &str) -> Vec<u32> {
        self.engine.encode_chat(rendered)
    }

    /// The text of tokens; control tokens give none.
    pub fn detokenize(&self, tokens: &[u32]) -> String {
        self.engine.tokenizer().decode(tokens)
    }

    /// The text of a conversation that the model is to continue, by its chat template; messages and tools are JSON, as
    /// in OpenAI's interface.
    #[uniffi::method(default(tools_json = None))]
    pub fn render_chat(&self, messages_json: &str, tools_json: Option<String>) -> Result<String> {
        let messages = json(messages_json, "messages")?;
        let tools = tools_json.map(|tools| json(&tools, "tools")).transpose()?;
        Ok(self.engine.render_chat(&messages, tools.as_ref(), true)?)
    }

    /// Reserves a session: all its memory and threads.
    pub fn session(self: Arc<Self>, config: &SessionConfig) -> Result<Arc<Session>> {
        let session = self.engine.session(&config.engine())?;
        Ok(Session::new(self, session))
    }
}

impl Model {
    pub(crate) fn engine(&self) -> &engine::Model {
        &self.engine
    }

    /// Makes a grammar ready for one answer.
    pub(crate) fn constraint(&self, grammar: &Grammar) -> Result<Constraint> {
        let grammar = grammar.engine()?;
        let mut kept = lock(&self.grammars)?;
        let grammars = match kept.take() {
            Some(grammars) => grammars,
            None => Grammars::of(&self.engine)?,
        };
        Ok(kept.insert(grammars).constraint(&grammar)?)
    }
}

fn json(text: &str, name: &str) -> Result<serde_json::Value> {
    serde_json::from_str(text).map_err(|e| InkstoneError::invalid(format_args!("{name}: {e}")))
}
