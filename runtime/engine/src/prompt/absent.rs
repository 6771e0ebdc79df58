//! Where chat templates are left out.

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;

impl Model {
    /// The text of a conversation, by the file's template.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`], always.
    pub fn render_chat(&self, _: &Value, _: Option<&Value>, _: bool) -> Result<String> {
        let text = "this build has no chat templates; build inkstone-engine with feature `jinja`";
        Err(Error::text(ErrorKind::Unsupported, text))
    }
}
