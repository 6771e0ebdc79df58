//! What a checkpoint says of itself: its name, its licence, its origin.

use std::path::Path;

use serde_json::Value as Json;

/// What a checkpoint says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The model's name.
    pub name: Option<String>,
    /// The licence, as the checkpoint spells it.
    pub licence: Option<String>,
    /// Where the licence can be read.
    pub licence_address: Option<String>,
    /// The licence text or notice.
    pub licence_text: Option<String>,
    /// Who made it.
    pub authors: Vec<String>,
    /// What it was made from.
    pub base_models: Vec<String>,
    /// Its languages.
    pub languages: Vec<String>,
}

impl About {
    /// From the head of a model card: YAML between two lines of three dashes, of which plain values
    /// and plain lists are understood.
    #[must_use]
    pub fn from_card(card: &str) -> Self {
        let mut about = Self::default();
        let mut lines = card.lines();
        if lines.next().map(str::trim_end) != Some("---") {
            return about;
        }
        let mut key = "";
        for line in lines.take_while(|line| line.trim_end() != "---") {
            let (name, value) = match line.trim_start().strip_prefix("- ") {
                Some(item) => (key, item),
                None => match line.split_once(':') {
                    Some((name, value)) if !name.starts_with([' ', '#']) => (name, value),
                    _ => ("", ""),
                },
            };
            key = name;
            about.state(name, plain(value));
        }
        about
    }

    fn state(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        let value = value.to_owned();
        match key {
            "license" => self.licence = Some(value),
            // Without a name of its own, `other` says nothing.
            "license_name" => self.licence = Some(value),
            "license_link" => self.licence_address = Some(value),
            "base_model" => self.base_models.push(value),
            "language" => self.languages.push(value),
            _ => {}
        }
    }

    /// The name of the model in `folder`, whose settings may state one; paths of machines are none.
    #[must_use]
    pub fn folder_name(folder: &Path, config: &Json) -> Option<String> {
        let stated = config.get("_name_or_path").and_then(Json::as_str);
        let is_name = |name: &&str| !name.is_empty() && !name.starts_with(['/', '.', '~', '\\']);
        let stated = stated.filter(is_name).map(str::to_owned);
        stated.or_else(|| Some(folder.file_name()?.to_str()?.to_owned()))
    }
}

/// A YAML value without quotes and comment; lists in brackets and objects are not understood.
fn plain(value: &str) -> &str {
    let value = value.split(" #").next().unwrap_or_default().trim();
    let unquoted = value.trim_matches(['"', '\'']);
    match unquoted.starts_with(['[', '{', '|', '>', '&', '*']) {
        true => "",
        false => unquoted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_card_states_licence_and_origin() {
        let card = "---\nlibrary_name: transformers\nlicense: apache-2.0 # spdx\nlanguage:\n- en\n- zh\n\
            base_model:\n  - \"Owner/Base\"\nlicense_link: https://x/y\ntags: [a, b]\n---\nlicense: mit\n";
        let about = About::from_card(card);
        assert_eq!(about.licence.as_deref(), Some("apache-2.0"));
        assert_eq!(about.licence_address.as_deref(), Some("https://x/y"));
        assert_eq!(about.languages, ["en", "zh"]);
        assert_eq!(about.base_models, ["Owner/Base"]);
        assert_eq!(About::from_card("# Title\nlicense: mit"), About::default());
    }

    #[test]
    fn paths_of_machines_are_no_names() {
        let folder = Path::new("models/tiny");
        let name = |json: Json| About::folder_name(folder, &json);
        assert_eq!(
            name(serde_json::json!({"_name_or_path": "a/b"})).as_deref(),
            Some("a/b")
        );
        for path in ["", "/home/me/b", "./b", "~/b"] {
            let json = serde_json::json!({"_name_or_path": path});
            assert_eq!(name(json).as_deref(), Some("tiny"));
        }
    }
}
