//! Conversations by a file's chat template.

use std::time::{SystemTime, UNIX_EPOCH};

use inkstone_text::template::{self, Context, DateTime};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;

impl Model {
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
}
