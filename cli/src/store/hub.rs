//! Model hubs: how each lists a repository and serves a file of it. A hub is a row.

use anyhow::{bail, ensure};
use inkstone_engine::format::records::Manifest;
use serde_json::Value;
use ureq::Agent;

use super::http;
use super::licence;
use super::source::{Repository, is_safe_path};

/// A place that serves repositories of model files over HTTP.
#[derive(Debug)]
pub(super) struct Hub {
    /// What stands before the colon on the command line.
    pub(super) scheme: &'static str,
    /// The variable that names another server of the same kind.
    endpoint_variable: &'static str,
    endpoint: &'static str,
    /// The variable that holds an access token.
    pub(super) token_variable: &'static str,
    revision: &'static str,
    /// With `{repo}` and `{rev}`.
    listing: &'static str,
    /// With `{repo}`, `{rev}` and `{file}`.
    file: &'static str,
    read: fn(&Value) -> Option<Listing>,
}

/// Every hub.
pub(super) static HUBS: &[Hub] = &[
    Hub {
        scheme: "hf",
        endpoint_variable: "HF_ENDPOINT",
        endpoint: "https://huggingface.co",
        token_variable: "HF_TOKEN",
        revision: "main",
        listing: "/api/models/{repo}/revision/{rev}?blobs=true",
        file: "/{repo}/resolve/{rev}/{file}",
        read: read_hugging_face,
    },
    Hub {
        scheme: "ms",
        endpoint_variable: "MODELSCOPE_ENDPOINT",
        endpoint: "https://www.modelscope.cn",
        token_variable: "MODELSCOPE_API_TOKEN",
        revision: "master",
        listing: "/api/v1/models/{repo}/repo/files?Revision={rev}&Recursive=true",
        file: "/models/{repo}/resolve/{rev}/{file}",
        read: read_model_scope,
    },
];

/// What a repository holds.
pub(super) struct Listing {
    pub(super) files: Vec<RemoteFile>,
    /// The licence that its card names, and the model it was made from.
    licence: Option<String>,
    base_model: Option<String>,
}

/// One file of a repository.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RemoteFile {
    pub(super) path: String,
    pub(super) bytes: Option<u64>,
    pub(super) sha256: Option<String>,
}

impl Repository {
    /// The files that make the model: the one that was named, the only GGUF, or a folder of safetensors.
    pub(super) fn files(&self, listing: &Listing) -> anyhow::Result<Vec<RemoteFile>> {
        if let Some(wanted) = &self.file {
            let found = listing.files.iter().find(|f| f.path == *wanted);
            return match found {
                Some(file) => Ok(vec![file.clone()]),
                None => bail!("{} has no file `{wanted}`; {}", self.name, choices(listing)),
            };
        }
        if is_checkpoint(listing) {
            return Ok(listing
                .files
                .iter()
                .filter(|f| belongs(&f.path))
                .cloned()
                .collect());
        }
        match ggufs(listing)[..] {
            [only] => Ok(vec![only.clone()]),
            [] => bail!(
                "{} holds neither safetensors with a config.json nor a GGUF",
                self.name
            ),
            _ => bail!("{} holds several models; {}", self.name, choices(listing)),
        }
    }

    /// Asks the hub what the repository holds.
    pub(super) fn list(&self, agent: &Agent) -> anyhow::Result<Listing> {
        let url = self.url(self.hub.listing, "")?;
        let answer = http::get_json(agent, &url, self.token().as_deref())?;
        let Some(mut listing) = (self.hub.read)(&answer) else {
            bail!("{url}: the answer lists no files");
        };
        listing.files.retain(|file| is_safe_path(&file.path));
        Ok(listing)
    }

    /// Where a file of the repository is served.
    pub(super) fn file_url(&self, path: &str) -> anyhow::Result<String> {
        self.url(self.hub.file, path)
    }

    /// The access token that the environment holds for this hub.
    pub(super) fn token(&self) -> Option<String> {
        std::env::var(self.hub.token_variable)
            .ok()
            .filter(|t| !t.is_empty())
    }

    /// What the repository's card says of rights and origin.
    pub(super) fn about(&self, listing: &Listing) -> Manifest {
        let owner = self.name.split('/').next().unwrap_or_default().to_owned();
        let bases = listing.base_model.iter().cloned().collect();
        licence::about(listing.licence.as_deref(), vec![owner], bases)
    }

    fn url(&self, template: &str, file: &str) -> anyhow::Result<String> {
        let hub = self.hub;
        let named = std::env::var(hub.endpoint_variable)
            .ok()
            .filter(|e| !e.is_empty());
        let endpoint = named
            .as_deref()
            .unwrap_or(hub.endpoint)
            .trim_end_matches('/');
        ensure!(
            endpoint.starts_with("https://") || endpoint.starts_with("http://"),
            "{}={endpoint}: must begin with https:// or http://",
            hub.endpoint_variable
        );
        let revision = self.revision.as_deref().unwrap_or(hub.revision);
        let path = template
            .replace("{repo}", &self.name)
            .replace("{rev}", &percent_encoded(revision, false))
            .replace("{file}", &percent_encoded(file, true));
        Ok(format!("{endpoint}{path}"))
    }
}

fn ggufs(listing: &Listing) -> Vec<&RemoteFile> {
    listing
        .files
        .iter()
        .filter(|f| f.path.ends_with(".gguf"))
        .collect()
}

fn choices(listing: &Listing) -> String {
    const SHOWN: usize = 12;
    let names: Vec<&str> = ggufs(listing).iter().map(|f| f.path.as_str()).collect();
    match names.len() {
        0 => "it holds no GGUF".to_owned(),
        n if n > SHOWN => format!(
            "add `:FILE`, one of {}, and {} more",
            names[..SHOWN].join(", "),
            n - SHOWN
        ),
        _ => format!("add `:FILE`, one of {}", names.join(", ")),
    }
}

fn is_checkpoint(listing: &Listing) -> bool {
    let has = |test: fn(&str) -> bool| listing.files.iter().any(|f| test(&f.path));
    has(|p| p == "config.json") && has(|p| !p.contains('/') && p.ends_with(".safetensors"))
}

/// Whether a file of a checkpoint is one that the converter or the licence wants.
fn belongs(path: &str) -> bool {
    const NAMES: [&str; 11] = [
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.json",
        "merges.txt",
        "chat_template.jinja",
    ];
    !path.contains('/')
        && (NAMES.contains(&path)
            || path.ends_with(".safetensors")
            || ["LICENSE", "LICENCE", "NOTICE", "USE_POLICY"]
                .iter()
                .any(|p| path.starts_with(p)))
}

fn read_hugging_face(answer: &Value) -> Option<Listing> {
    let files = answer["siblings"].as_array()?.iter().filter_map(|file| {
        Some(RemoteFile {
            path: file["rfilename"].as_str()?.to_owned(),
            bytes: file["size"].as_u64(),
            sha256: sha256(&file["lfs"]["sha256"]),
        })
    });
    let card = &answer["cardData"];
    let base = &card["base_model"];
    let base = base.as_str().or_else(|| base[0].as_str());
    let licence = card["license"].as_str().filter(|id| *id != "other");
    Some(Listing {
        files: files.collect(),
        licence: licence.or(card["license_name"].as_str()).map(str::to_owned),
        base_model: base.map(str::to_owned),
    })
}

fn read_model_scope(answer: &Value) -> Option<Listing> {
    let files = answer["Data"]["Files"].as_array()?.iter();
    let files = files
        .filter(|file| file["Type"] != "tree")
        .filter_map(|file| {
            Some(RemoteFile {
                path: file["Path"].as_str()?.to_owned(),
                bytes: file["Size"].as_u64(),
                sha256: sha256(&file["Sha256"]),
            })
        });
    Some(Listing {
        files: files.collect(),
        licence: None,
        base_model: None,
    })
}

fn sha256(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let well_formed = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    well_formed.then(|| text.to_ascii_lowercase())
}

/// RFC 3986, section 2.1; `/` stays where it separates folders.
fn percent_encoded(text: &str, keep_slash: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let plain =
            byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/');
        if plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::source::Source;

    fn repository(text: &str) -> Repository {
        match text.parse().unwrap() {
            Source::Hub(repository) => repository,
            Source::Pip(_) | Source::BuiltIn(_) => panic!("{text}"),
        }
    }

    fn listing(paths: &[&str]) -> Listing {
        let files: Vec<_> = paths.iter().map(|p| json!({"rfilename": p})).collect();
        read_hugging_face(
            &json!({"siblings": files, "cardData": {"license": "mit", "base_model": ["x/y"]}}),
        )
        .unwrap()
    }

    fn chosen(source: &str, paths: &[&str]) -> Result<Vec<String>, String> {
        let files = repository(source)
            .files(&listing(paths))
            .map_err(|e| e.to_string())?;
        Ok(files.into_iter().map(|f| f.path).collect())
    }

    #[test]
    fn a_checkpoint_is_a_folder_of_what_the_converter_reads() {
        let files = [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "LICENSE",
            "logo.png",
            "onnx/model.onnx",
        ];
        let wanted = [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "LICENSE",
        ];
        assert_eq!(chosen("hf:a/b", &files).unwrap(), wanted);
    }

    #[test]
    fn one_gguf_is_taken_and_of_several_one_must_be_named() {
        assert_eq!(
            chosen("hf:a/b", &["README.md", "x.gguf"]).unwrap(),
            ["x.gguf"]
        );
        let several = chosen("hf:a/b", &["x.gguf", "y.gguf"]).unwrap_err();
        assert!(several.contains("x.gguf, y.gguf"), "{several}");
        assert_eq!(
            chosen("hf:a/b:y.gguf", &["x.gguf", "y.gguf"]).unwrap(),
            ["y.gguf"]
        );
        assert!(chosen("hf:a/b:z.gguf", &["x.gguf"]).is_err());
    }

    #[test]
    fn cards_give_licence_and_base_model() {
        let about = repository("hf:a/b").about(&listing(&[]));
        assert_eq!(about.licence.as_deref(), Some("MIT"));
        assert_eq!(about.base_models, ["x/y"]);
        assert_eq!(about.attribution, ["a"]);
    }

    #[test]
    fn file_names_are_encoded() {
        assert_eq!(percent_encoded("a b/ü.gguf", true), "a%20b/%C3%BC.gguf");
        assert_eq!(percent_encoded("refs/pr/1", false), "refs%2Fpr%2F1");
    }
}
