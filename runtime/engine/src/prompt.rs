//! From words to the tokens a model is asked with.

#[cfg(feature = "jinja")]
#[path = "prompt/jinja.rs"]
mod template;
#[cfg(not(feature = "jinja"))]
#[path = "prompt/absent.rs"]
mod template;

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

    fn bos_text(&self) -> Option<String> {
        self.text_of(self.tokenizer().bos())
    }

    fn text_of(&self, token: Option<u32>) -> Option<String> {
        let bytes = self.tokenizer().token_bytes(token?)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}
