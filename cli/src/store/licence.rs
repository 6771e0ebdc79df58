//! Licences: what a model may be used for travels with it, and terms are agreed to before a pull.

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::terminal::{Terminal, confirm};

/// What the origin says about rights; every conversion carries it on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Licence {
    /// An SPDX identifier, `LicenseRef-…`, or `unknown`.
    pub(crate) id: String,
    /// Where the text is, or the notice that must travel with the weights.
    pub(crate) notice: Option<String>,
    /// Who made the model.
    pub(crate) attribution: Option<String>,
    /// The model it was made from.
    pub(crate) base_model: Option<String>,
    /// What was changed since.
    pub(crate) changes: Vec<String>,
}

impl Licence {
    /// Of a model whose origin says nothing.
    pub(crate) fn unknown() -> Self {
        Self {
            id: "unknown".to_owned(),
            notice: None,
            attribution: None,
            base_model: None,
            changes: Vec::new(),
        }
    }

    /// Translates what a hub's model card says: `apache-2.0` to `Apache-2.0`, `gemma` to `LicenseRef-Gemma`.
    pub(crate) fn from_card(id: &str, owner: &str, base_model: Option<String>) -> Self {
        let row = CARD_IDS.iter().find(|row| row.0.eq_ignore_ascii_case(id));
        let id = match row {
            Some(row) => row.1.to_owned(),
            None => format!(
                "LicenseRef-{}",
                id.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
            ),
        };
        let notice = terms_of(&id).map(Terms::notice);
        Self {
            id,
            notice,
            attribution: Some(owner.to_owned()),
            base_model,
            changes: Vec::new(),
        }
    }
}

/// Identifiers of model cards, and what SPDX calls them.
static CARD_IDS: &[(&str, &str)] = &[
    ("apache-2.0", "Apache-2.0"),
    ("mit", "MIT"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("cc-by-4.0", "CC-BY-4.0"),
    ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("gemma", "LicenseRef-Gemma"),
    ("unlicense", "Unlicense"),
];

/// Terms that must be agreed to before the weights are fetched.
pub(super) struct Terms {
    /// The licence they stand behind.
    id: &'static str,
    /// What `--accept-license` calls them.
    key: &'static str,
    title: &'static str,
    address: &'static str,
}

static TERMS: &[Terms] = &[Terms {
    id: "LicenseRef-Gemma",
    key: "gemma",
    title: "the Gemma Terms of Use",
    address: "https://ai.google.dev/gemma/terms",
}];

impl Terms {
    /// The sentence that the terms want beside the weights.
    pub(super) fn notice(&self) -> String {
        format!(
            "Gemma is provided under and subject to {} found at {}",
            self.title.trim_start_matches("the "),
            self.address
        )
    }
}

/// The terms behind a licence, if it has any.
pub(super) fn terms_of(id: &str) -> Option<&'static Terms> {
    TERMS.iter().find(|terms| terms.id == id)
}

/// The names `--accept-license` takes.
pub(crate) fn term_keys() -> impl Iterator<Item = &'static str> {
    TERMS.iter().map(|terms| terms.key)
}

/// What was agreed to before the question is asked.
pub(crate) struct Consent {
    keys: Vec<String>,
}

/// The variable that agrees where nobody can be asked.
const VARIABLE: &str = "INKSTONE_ACCEPT_LICENSE";

impl Consent {
    /// What the command line and the environment agree to.
    pub(crate) fn new(flags: &[String]) -> Self {
        let named = std::env::var(VARIABLE).unwrap_or_default();
        let keys = named.split(',').map(|k| k.trim().to_owned());
        Self {
            keys: flags.iter().cloned().chain(keys).collect(),
        }
    }

    /// Fails unless the licence has no terms or they are agreed to; asks a person who is there.
    pub(super) fn require(&self, terminal: &Terminal, model: &str, id: &str) -> anyhow::Result<()> {
        let Some(terms) = terms_of(id) else {
            return Ok(());
        };
        terminal.note(format_args!(
            "{model} comes under {}: {}",
            terms.title, terms.address
        ));
        if self.keys.iter().any(|key| key == terms.key) {
            return Ok(());
        }
        if confirm("Do you accept them?")? == Some(true) {
            return Ok(());
        }
        bail!(
            "{model} was not pulled: {} ({}) were not accepted; read them, then add `--accept-license {}` or set {VARIABLE}={}",
            terms.title,
            terms.address,
            terms.key,
            terms.key,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{Licence, terms_of};

    #[test]
    fn model_cards_become_spdx() {
        for (card, spdx) in [
            ("apache-2.0", "Apache-2.0"),
            ("gemma", "LicenseRef-Gemma"),
            ("llama3.2", "LicenseRef-llama3-2"),
        ] {
            assert_eq!(Licence::from_card(card, "someone", None).id, spdx);
        }
        assert!(terms_of("LicenseRef-Gemma").is_some());
        assert!(terms_of("MIT").is_none());
    }
}
