//! The text side of whatever holds one: its tokenizer and its chat template.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use inkstone_converter::gguf::Gguf;
use inkstone_converter::hf::Folder;
use inkstone_converter::tokenizer;
use inkstone_engine::Model;
use inkstone_engine::format::{MAGIC, SectionKind};
use inkstone_engine::text::{self, Tokenizer};

use crate::files;

/// The tokenizer section of `.ink` models, GGUF files, folders, `tokenizer.json` and SentencePiece models.
pub(crate) fn tokenizer_section(path: &Path) -> anyhow::Result<Vec<u8>> {
    if is_ink(path)? {
        let model = Model::open(path)?;
        let section = model.file().section(SectionKind::Tokenizer);
        return Ok(section.expect("`Model::open` wants a tokenizer").to_vec());
    }
    let file = tokenizer_file(path)?;
    let vocabulary = tokenizer::open(&file)?;
    text::build(&vocabulary)
        .with_context(|| format!("{}: cannot use the tokenizer", file.display()))
}

/// A chat template and the texts of the tokens that begin and end a sequence.
pub(crate) struct Template {
    pub(crate) source: String,
    pub(crate) bos: String,
    pub(crate) eos: String,
}

/// The chat template of `.ink` models, GGUF files, Hugging Face folders and `.jinja` files.
pub(crate) fn template(path: &Path) -> anyhow::Result<Template> {
    if path.extension().is_some_and(|e| e == "jinja") {
        let source = files::text(path)?;
        let (bos, eos) = (String::new(), String::new());
        return Ok(Template { source, bos, eos });
    }
    let source = stored_template(path)?.ok_or_else(|| {
        anyhow!(
            "{}: is of a base model, it has no chat template",
            path.display()
        )
    })?;
    let section = tokenizer_section(path)?;
    let tokenizer = Tokenizer::parse(&section).context("the tokenizer just built")?;
    let name = |token: Option<u32>| {
        let bytes = token
            .and_then(|id| tokenizer.token_bytes(id))
            .unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    Ok(Template {
        bos: name(tokenizer.bos()),
        eos: name(tokenizer.eos()),
        source,
    })
}

/// Whether the file begins as an `.ink` file does.
pub(crate) fn is_ink(path: &Path) -> anyhow::Result<bool> {
    begins_with(path, &MAGIC)
}

fn stored_template(path: &Path) -> anyhow::Result<Option<String>> {
    if path.is_dir() {
        return Ok(Folder::open(path)?.chat_template);
    }
    if is_ink(path)? {
        return Ok(Model::open(path)?.template()?.map(str::to_owned));
    }
    if begins_with(path, b"GGUF")? {
        let gguf = Gguf::open(path)?;
        let template = gguf.get("tokenizer.chat_template");
        return Ok(template.and_then(|value| value.as_str()).map(str::to_owned));
    }
    Ok(None)
}

/// The file of a folder that holds the tokenizer; a file is itself.
fn tokenizer_file(path: &Path) -> anyhow::Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    ["tokenizer.json", "tokenizer.model"]
        .iter()
        .map(|name| path.join(name))
        .find(|file| file.exists())
        .ok_or_else(|| {
            anyhow!(
                "{}: neither tokenizer.json nor tokenizer.model is in it",
                path.display()
            )
        })
}

fn begins_with(path: &Path, magic: &[u8]) -> anyhow::Result<bool> {
    use std::io::Read;
    if path.is_dir() {
        return Ok(false);
    }
    let mut head = Vec::new();
    let file = fs::File::open(path).with_context(|| path.display().to_string())?;
    file.take(magic.len() as u64)
        .read_to_end(&mut head)
        .with_context(|| path.display().to_string())?;
    Ok(head == magic)
}
