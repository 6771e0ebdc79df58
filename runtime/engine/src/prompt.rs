//! From words to the tokens a model is asked with.

use std::time::{SystemTime, UNIX_EPOCH};

use inkstone_text::template::{self, Context, DateTime};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;

impl Model {
    /// The tokens of plain text: what begins a text is put before it where the vocabulary says so, names of control
    /// tokens are text as any other.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        self.tokenizer()
            .encode(text, inkstone_text::Options::default(), &mut tokens);
        tokens
    }

    /// The tokens of a rendered conversation: names of control tokens become the tokens.
    ///
    /// What begins a text is put before it where the vocabulary says so and the template has not.
    pub fn encode_chat(&self, rendered: &str) -> Vec<u32> {
        let tokenizer = self.tokenizer();
        let begun = self
            .bos_text()
            .is_some_and(|bos| !bos.is_empty() && rendered.starts_with(&bos));
        let options = inkstone_text::Options {
            parse_special: true,
            add_bos: Some(tokenizer.adds_bos() && !begun),
            add_eos: Some(false),
        };
        let mut tokens = Vec::new();
        tokenizer.encode(rendered, options, &mut tokens);
        tokens
    }

    /// The text of a conversation, by the file's template; dates in it are today's, UTC.
    ///
    /// `messages` and `tools` are as in OpenAI's interface.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the file has no template, [`ErrorKind::Invalid`] where the template refuses the
    /// conversation or fails.
    pub fn render_chat(
        &self,
        messages: &Value,
        tools: Option<&Value>,
        add_generation_prompt: bool,
    ) -> Result<String> {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        let context = Context {
            messages: messages.clone(),
            tools: tools.cloned(),
            add_generation_prompt,
            now: DateTime::from_unix(seconds),
            ..Context::default()
        };
        self.render(context)
    }

    /// As [`Self::render_chat`], with everything a template may be given; the texts of the tokens that begin and end a
    /// sequence are filled in where they are empty.
    ///
    /// # Errors
    /// As [`Self::render_chat`].
    pub fn render(&self, mut context: Context) -> Result<String> {
        let none = || {
            let text = format!("{} is a base model: it has no chat template", self.name());
            Error::text(ErrorKind::Unsupported, text)
        };
        let source = self.template()?.ok_or_else(none)?;
        if context.bos_token.is_empty() {
            context.bos_token = self.bos_text().unwrap_or_default();
        }
        if context.eos_token.is_empty() {
            context.eos_token = self.text_of(self.tokenizer().eos()).unwrap_or_default();
        }
        template::render(source, &context)
            .map_err(|e| Error::text(ErrorKind::Invalid, e.to_string()))
    }

    fn bos_text(&self) -> Option<String> {
        self.text_of(self.tokenizer().bos())
    }

    fn text_of(&self, token: Option<u32>) -> Option<String> {
        let bytes = self.tokenizer().token_bytes(token?)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}
