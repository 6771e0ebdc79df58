//! Licences: what a model may be used for travels with it, and terms are agreed to before a pull.

use anyhow::bail;
use inkstone_converter::manifest;
use inkstone_converter::source::About;
use inkstone_engine::format::records::Manifest;

use crate::terminal::{Terminal, confirm};

/// What is known of a model's rights and origin, from how its origin spells the licence.
pub(super) fn about(
    spelled: Option<&str>,
    authors: Vec<String>,
    base_models: Vec<String>,
) -> Manifest {
    let about = About {
        licence: spelled.map(str::to_owned),
        authors,
        base_models,
        ..About::default()
    };
    Manifest {
        changes: Vec::new(),
        ..manifest::from_source(&about, String::new())
    }
}

/// The licence in a word.
pub(crate) fn licence_of(about: &Manifest) -> &str {
    about.licence.as_deref().unwrap_or("unknown")
}

/// Terms that must be agreed to before the weights are fetched.
struct Terms {
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

/// The terms behind a licence, if it has any.
fn terms_of(id: &str) -> Option<&'static Terms> {
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
    use super::{TERMS, about, licence_of};

    #[test]
    fn terms_stand_behind_a_licence_that_the_converter_knows() {
        for terms in TERMS {
            let about = about(Some(terms.key), Vec::new(), Vec::new());
            assert_eq!(about.licence.as_deref(), Some(terms.id));
            assert_eq!(about.licence_address.as_deref(), Some(terms.address));
            assert!(
                about.licence_text.is_some(),
                "the notice travels with the weights"
            );
        }
    }

    #[test]
    fn nothing_known_is_said_so() {
        assert_eq!(licence_of(&about(None, Vec::new(), Vec::new())), "unknown");
    }
}
