//! What a converted file says of its licence and origin.

use inkstone_format::records::Manifest;

use crate::about::About;

/// A licence as checkpoints spell it.
struct Licence {
    spelled: &'static str,
    identifier: &'static str,
    address: Option<&'static str>,
    notice: Option<&'static str>,
}

/// Spellings of the Hugging Face hub, and the identifiers they stand for.
static LICENCES: &[Licence] = &[
    spdx("apache-2.0", "Apache-2.0"),
    spdx("mit", "MIT"),
    spdx("bsd-3-clause", "BSD-3-Clause"),
    spdx("cc-by-4.0", "CC-BY-4.0"),
    spdx("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    spdx("cc-by-nc-4.0", "CC-BY-NC-4.0"),
    spdx("cc0-1.0", "CC0-1.0"),
    Licence {
        spelled: "gemma",
        identifier: "LicenseRef-Gemma",
        address: Some("https://ai.google.dev/gemma/terms"),
        // The words that section 3.1 of the terms asks for.
        notice: Some(
            "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
        ),
    },
    named("llama2", "LicenseRef-Llama-2"),
    named("llama3", "LicenseRef-Llama-3"),
    named("llama3.1", "LicenseRef-Llama-3.1"),
    named("llama3.2", "LicenseRef-Llama-3.2"),
    named("llama3.3", "LicenseRef-Llama-3.3"),
];

/// A manifest from what a checkpoint says of itself; unknown stays unknown.
#[must_use]
pub fn from_source(about: &About, change: String) -> Manifest {
    let spelled = about.licence.as_deref().map(str::trim);
    let known = spelled.and_then(known);
    let unknown = spelled.filter(|s| !["", "other", "unknown"].contains(s));
    let identifier = unknown.map(identifier);
    let address = known.and_then(|l| l.address).map(str::to_owned);
    let notice = known.and_then(|l| l.notice).map(str::to_owned);
    Manifest {
        name: about.name.clone().unwrap_or_default(),
        licence: identifier,
        licence_address: about.licence_address.clone().or(address),
        licence_text: about.licence_text.clone().or(notice),
        attribution: about.authors.clone(),
        base_models: about.base_models.clone(),
        changes: vec![change],
        languages: about.languages.clone(),
    }
}

/// `manifest`, where `stated` says nothing else; changes follow each other.
#[must_use]
pub fn under(stated: Manifest, manifest: Manifest) -> Manifest {
    fn either<T>(stated: Vec<T>, other: Vec<T>) -> Vec<T> {
        if stated.is_empty() { other } else { stated }
    }
    Manifest {
        name: if stated.name.is_empty() {
            manifest.name
        } else {
            stated.name
        },
        licence: stated.licence.or(manifest.licence),
        licence_address: stated.licence_address.or(manifest.licence_address),
        licence_text: stated.licence_text.or(manifest.licence_text),
        attribution: either(stated.attribution, manifest.attribution),
        base_models: either(stated.base_models, manifest.base_models),
        changes: [stated.changes, manifest.changes].concat(),
        languages: either(stated.languages, manifest.languages),
    }
}

fn known(spelled: &str) -> Option<&'static Licence> {
    LICENCES
        .iter()
        .find(|licence| spelled.eq_ignore_ascii_case(licence.spelled))
}

/// As SPDX writes it, also where several are joined.
fn identifier(spelled: &str) -> String {
    /// Longer than any expression that is meant.
    const LONGEST: usize = 1024;
    if spelled.len() > LONGEST {
        return reference(spelled);
    }
    for joint in [" AND ", " OR "] {
        if let Some((left, right)) = spelled.split_once(joint) {
            return [identifier(left), identifier(right)].join(joint);
        }
    }
    known(spelled).map_or_else(
        || reference(spelled),
        |licence| licence.identifier.to_owned(),
    )
}

/// Something that is no known spelling, as an identifier of SPDX's own form.
fn reference(spelled: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    let text: String = spelled
        .chars()
        .take(64)
        .map(|c| if allowed(c) { c } else { '-' })
        .collect();
    format!("LicenseRef-{text}")
}

const fn spdx(spelled: &'static str, identifier: &'static str) -> Licence {
    Licence {
        spelled,
        identifier,
        address: None,
        notice: None,
    }
}

const fn named(spelled: &'static str, identifier: &'static str) -> Licence {
    spdx(spelled, identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn licence(spelled: &str) -> Option<String> {
        let about = About {
            licence: Some(spelled.to_owned()),
            ..About::default()
        };
        from_source(&about, String::new()).licence
    }

    #[test]
    fn spellings_become_identifiers() {
        assert_eq!(licence("apache-2.0").as_deref(), Some("Apache-2.0"));
        assert_eq!(licence("gemma").as_deref(), Some("LicenseRef-Gemma"));
        assert_eq!(licence("my own!").as_deref(), Some("LicenseRef-my-own-"));
        assert_eq!(
            licence("mit AND cc-by-4.0").as_deref(),
            Some("MIT AND CC-BY-4.0")
        );
        assert_eq!(licence("other"), None);
        let endless = licence(&"mit AND ".repeat(100_000));
        assert!(endless.is_some_and(|name| name.starts_with("LicenseRef-") && name.len() < 100));
        assert_eq!(from_source(&About::default(), String::new()).licence, None);
    }

    #[test]
    fn what_is_stated_wins_and_changes_add_up() {
        let stated = Manifest {
            name: "a".into(),
            changes: vec!["first".into()],
            ..Manifest::default()
        };
        let found = Manifest {
            name: "b".into(),
            licence: Some("MIT".into()),
            changes: vec!["second".into()],
            ..Manifest::default()
        };
        let both = under(stated, found);
        assert_eq!(
            (both.name.as_str(), both.licence.as_deref()),
            ("a", Some("MIT"))
        );
        assert_eq!(both.changes, ["first", "second"]);
    }
}
