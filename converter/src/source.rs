//! A checkpoint opened for conversion: its hyperparameters, its tensors, its text side.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use crate::about::About;
use crate::arch::Names;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result, malformed, missing, unsupported};
use crate::ggml_types::{self, GgmlType};
use crate::gguf::{Gguf, Value, read_range};
use crate::hf::Folder;
use crate::{gguf_name, llama2c, safetensors};

/// A checkpoint of any kind that is read.
#[derive(Debug)]
pub struct Source {
    /// The hyperparameters.
    pub config: Config,
    /// What the tensors are called.
    pub names: &'static Names,
    /// Where the vocabulary is.
    pub vocabulary: Vocabulary,
    /// The chat template, Jinja.
    pub chat_template: Option<String>,
    /// Tokens that end an answer, as far as the settings name them; ascending.
    pub stops: Vec<u32>,
    /// What the checkpoint says of itself.
    pub about: About,
    tensors: Vec<Tensor>,
    index: BTreeMap<String, usize>,
    files: Vec<(PathBuf, File)>,
}

/// One tensor of a checkpoint.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Name, unique in the checkpoint.
    pub name: String,
    /// The sizes, the slowest running first: `[rows, inputs]` of a matrix.
    pub shape: Vec<u64>,
    /// How the elements are stored.
    pub kind: &'static GgmlType,
    file: usize,
    offset: u64,
    bytes: u64,
}

/// Where a vocabulary is to be read.
#[derive(Debug)]
pub enum Vocabulary {
    /// In the metadata of the file itself.
    Gguf(Box<Gguf>),
    /// In the files of a Hugging Face folder.
    Folder(Box<Folder>),
    /// In the `tokenizer.bin` of llama2.c, if one was found.
    Llama2c(Option<PathBuf>),
}

impl Source {
    /// Opens a GGUF file, a Hugging Face folder or a llama2.c checkpoint; the content decides.
    ///
    /// # Errors
    /// It is none of them, or one that does not hold.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Self::folder(path);
        }
        let mut magic = Vec::new();
        let head = File::open(path).and_then(|file| file.take(4).read_to_end(&mut magic));
        head.map_err(|e| Error::from(e).in_file(path))?;
        if magic == b"GGUF" {
            return Self::gguf(path);
        }
        let known = path.extension().is_some_and(|extension| extension == "bin");
        if known && !magic.starts_with(b"PK") {
            return Self::llama2c(path);
        }
        let message = "neither a GGUF file, nor a Hugging Face folder, nor a llama2.c checkpoint; convert one of those";
        Err(Error::new(ErrorKind::Magic, message).in_file(path))
    }

    /// The tensors, in the order of the files.
    #[must_use]
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor called `name`.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.index.get(name).map(|&at| &self.tensors[at])
    }

    /// The files that hold tensors.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// Replaces `into` with the bytes of `tensor`.
    ///
    /// # Errors
    /// The file has become shorter or cannot be read.
    pub fn read(&self, tensor: &Tensor, into: &mut Vec<u8>) -> Result<()> {
        self.read_part(tensor, 0, tensor.bytes, into)
    }

    /// Replaces `into` with `bytes` bytes of `tensor` from its byte `start`, which must lie within.
    ///
    /// # Errors
    /// The range leaves the tensor, or the file has become shorter or cannot be read.
    pub fn read_part(
        &self,
        tensor: &Tensor,
        start: u64,
        bytes: u64,
        into: &mut Vec<u8>,
    ) -> Result<()> {
        let (path, file) = &self.files[tensor.file];
        if start
            .checked_add(bytes)
            .is_none_or(|end| end > tensor.bytes)
        {
            let message = format!("{bytes} bytes from {start} leave tensor {}", tensor.name);
            return Err(malformed(message).in_file(path));
        }
        let offset = tensor.offset + start;
        read_range(file, offset, bytes, into).map_err(|e| e.at(offset).in_file(path))
    }

    /// The numbers of `tensor`, whatever its type.
    ///
    /// # Errors
    /// The type cannot be decoded, or the file cannot be read.
    pub fn numbers(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        let (mut bytes, mut numbers) = (Vec::new(), Vec::new());
        self.read(tensor, &mut bytes)?;
        if tensor.kind.decode_into(&bytes, &mut numbers) {
            return Ok(numbers);
        }
        let message = format!("tensor {} is of type {}", tensor.name, tensor.kind.name);
        Err(unsupported(message)
            .at(tensor.offset)
            .in_file(&self.files[tensor.file].0))
    }

    fn gguf(path: &Path) -> Result<Self> {
        let gguf = Gguf::open(path)?;
        let parts = gguf.get("split.count").and_then(Value::as_u64);
        if parts.is_some_and(|parts| parts > 1) || gguf_name::is_shard(path) {
            let message = "one of several files of a model; join them first";
            return Err(unsupported(message).in_file(path));
        }
        let config = Config::from_gguf(gguf.header()).map_err(|e| e.in_file(path))?;
        let tensors = gguf.tensors().iter().map(|t| Tensor {
            name: t.name.clone(),
            shape: t.dims.iter().rev().copied().collect(),
            kind: t.kind,
            file: 0,
            offset: t.offset,
            bytes: t.bytes,
        });
        let text = |key: &str| gguf.get(key).and_then(Value::as_str).map(str::to_owned);
        Self {
            names: &config.arch.gguf,
            config,
            chat_template: text("tokenizer.chat_template"),
            stops: gguf_stops(&gguf),
            about: gguf_about(&gguf),
            tensors: tensors.collect(),
            index: BTreeMap::new(),
            files: vec![open(path)?],
            vocabulary: Vocabulary::Gguf(Box::new(gguf)),
        }
        .indexed()
    }

    fn folder(path: &Path) -> Result<Self> {
        let folder = Folder::open(path)?;
        let config =
            Config::from_hf(&folder.config).map_err(|e| e.in_file(&path.join("config.json")))?;
        let (mut tensors, mut files) = (Vec::new(), Vec::new());
        for shard in safetensors::shards(path)? {
            let (file, stored) = safetensors::open(&shard)?;
            tensors.extend(stored.into_iter().map(|t| Tensor {
                name: t.name,
                shape: t.shape,
                kind: t.kind,
                file: files.len(),
                offset: t.offset,
                bytes: t.bytes,
            }));
            files.push((shard, file));
        }
        Self {
            names: &config.arch.hf,
            config,
            chat_template: folder.chat_template.clone(),
            stops: folder.stops.clone(),
            about: folder.about.clone(),
            tensors,
            index: BTreeMap::new(),
            files,
            vocabulary: Vocabulary::Folder(Box::new(folder)),
        }
        .indexed()
    }

    fn llama2c(path: &Path) -> Result<Self> {
        let (file, header, pieces) = llama2c::open(path)?;
        let config = Config::from_llama2c(&header).map_err(|e| e.in_file(path))?;
        let tensors = pieces.into_iter().map(|p| Tensor {
            name: p.name,
            shape: p.shape,
            kind: ggml_types::by_id(ggml_types::F32.id).expect("the table has F32"),
            file: 0,
            offset: p.offset,
            bytes: p.bytes,
        });
        Self {
            names: &config.arch.gguf,
            config,
            vocabulary: Vocabulary::Llama2c(llama2c::vocabulary(path, header.vocab)),
            chat_template: None,
            // The program stops at the token that begins a text, too.
            stops: vec![1, 2],
            about: About::default(),
            tensors: tensors.collect(),
            index: BTreeMap::new(),
            files: vec![(path.to_owned(), file)],
        }
        .indexed()
    }

    fn indexed(mut self) -> Result<Self> {
        for (at, tensor) in self.tensors.iter().enumerate() {
            if self.index.insert(tensor.name.clone(), at).is_some() {
                let message = format!("tensor {} stands in two files", tensor.name);
                return Err(malformed(message).in_file(&self.files[tensor.file].0));
            }
        }
        if self.tensors.is_empty() {
            let error = missing("no tensors: a vocabulary alone cannot be converted");
            return Err(self
                .files
                .first()
                .map_or(missing("no tensors"), |f| error.in_file(&f.0)));
        }
        Ok(self)
    }
}

impl Tensor {
    /// Length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Rows and inputs: the last size, and the product of the others.
    #[must_use]
    pub fn matrix(&self) -> (u64, u64) {
        match self.shape.split_last() {
            Some((&inputs, rest)) => (rest.iter().product(), inputs),
            None => (1, 1),
        }
    }
}

fn open(path: &Path) -> Result<(PathBuf, File)> {
    let file = File::open(path).map_err(|e| Error::from(e).in_file(path))?;
    Ok((path.to_owned(), file))
}

fn gguf_stops(gguf: &Gguf) -> Vec<u32> {
    let keys = ["eos", "eot", "eom"].map(|end| format!("tokenizer.ggml.{end}_token_id"));
    let id = |key: &String| gguf.get(key)?.as_u64()?.try_into().ok();
    let mut ids: Vec<u32> = keys.iter().filter_map(id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn gguf_about(gguf: &Gguf) -> About {
    let text = |key: &str| gguf.get(key).and_then(Value::as_str).map(str::to_owned);
    let list = |key: &str| {
        gguf.get(key)
            .and_then(Value::as_strs)
            .unwrap_or(&[])
            .to_vec()
    };
    let bases = (0..8).map_while(|n| {
        text(&format!("general.base_model.{n}.repo_url"))
            .or_else(|| text(&format!("general.base_model.{n}.name")))
    });
    About {
        name: text("general.name").or_else(|| gguf_name::model(gguf.path())),
        licence: text("general.license"),
        licence_address: text("general.license.link"),
        licence_text: None,
        authors: ["general.author", "general.organization"]
            .iter()
            .filter_map(|key| text(key))
            .collect(),
        base_models: bases.collect(),
        languages: list("general.languages"),
    }
}
