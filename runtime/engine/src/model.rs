//! An `.ink` file, opened: mapped, checked once, shared.

use core::ops::Range;
use std::path::Path;
use std::sync::Arc;

use inkstone_format::records::{self, Manifest, Provenance, Record};
use inkstone_format::{File, SectionKind};
use inkstone_model::weights::{self, Stored, is_adapter};
use inkstone_model::{LayerSpec, ModelError, Spec};
use inkstone_text::Tokenizer;

use crate::adapter::{Adapter, Stack};
use crate::error::{Error, ErrorKind, Result};
use crate::mapped::Mapped;

const NO_TOKENIZER: &str =
    "the file knows tokens by number only; convert again with the tokenizer beside the weights";

/// A model that is ready to use; clones share it.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

impl core::fmt::Debug for Model {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Model").field(&self.name()).finish()
    }
}

/// Models are equal that compute the same.
impl PartialEq for Model {
    fn eq(&self, other: &Model) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Model {}

struct Inner {
    mapped: Arc<Mapped>,
    id: [u8; 32],
    stack: Stack,
    spec: Spec,
    layers: Vec<LayerSpec>,
    tokenizer: Range<usize>,
    stops: Vec<u32>,
}

/// The bytes of a model's file, kept mapped by whoever computes with them.
#[derive(Clone)]
pub(crate) struct Bytes(Model);

impl Stored for Bytes {
    fn bytes(&self) -> weights::Bytes<'_> {
        let inner = &self.0.0;
        let (file, beside) = (inner.mapped.bytes(), inner.stack.bytes());
        match inner.mapped.streamed() {
            Some(streamed) => weights::Bytes::streamed(file, streamed.file_bytes, streamed, beside),
            None => weights::Bytes::new(file, beside),
        }
    }
}

impl Model {
    /// Maps a file and checks its tables; no weight is read.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::NotAModel`], [`ErrorKind::Damaged`], [`ErrorKind::Unsupported`] or
    /// [`ErrorKind::Io`].
    pub fn open(path: &Path) -> Result<Model> {
        Model::of(Mapped::open(path)?)
    }

    /// As [`Self::open`] for a file that is mapped, or was in memory already.
    ///
    /// # Errors
    /// As there.
    pub fn of(mapped: Mapped) -> Result<Model> {
        let path = &mapped.path().to_path_buf();
        let file = mapped.file();
        let model = inkstone_model::Model::new(file);
        let model = match model {
            Err(ModelError::NoSpec) if file.tensors().any(|t| is_adapter(t.role)) => {
                let what = "the file is an adapter; attach it to its model";
                let text = format!("{}: {what}", path.display());
                return Err(Error::text(ErrorKind::NotAModel, text));
            }
            model => model.map_err(|e| unfit(path, e))?,
        };
        let refused = |kind, what: &str| Error::text(kind, format!("{}: {what}", path.display()));
        let damaged = |what: &str| refused(ErrorKind::Damaged, what);
        let section = file.section(SectionKind::Tokenizer);
        let section = section.ok_or_else(|| refused(ErrorKind::Unsupported, NO_TOKENIZER))?;
        Tokenizer::parse(section).map_err(|e| damaged(&e.to_string()))?;
        let spec = model.spec();
        let start = section.as_ptr().addr() - mapped.bytes().as_ptr().addr();
        let stops = stops(&file, spec.vocabulary)
            .ok_or_else(|| damaged("the stop tokens are not of the vocabulary"))?;
        let stack = match mapped.streamed() {
            Some(streamed) => Stack::of_vectors(&file, streamed).map_err(|e| e.at(path))?,
            None => Stack::default(),
        };
        let inner = Inner {
            id: file.id(),
            spec,
            layers: (0..spec.layers)
                .map(|layer| model.layer_spec(layer))
                .collect(),
            tokenizer: start..start + section.len(),
            stops,
            stack,
            mapped: Arc::new(mapped),
        };
        Ok(Model(Arc::new(inner)))
    }

    /// This model with adapters beside those it has, each with what it is scaled by; the file is not read again.
    ///
    /// They stand in memory of their own, a few MB; both models, and any number of others, share the rest.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`] for an adapter of other shapes, [`ErrorKind::Invalid`] for a scale that is not finite.
    pub fn attach(&self, adapters: &[(Adapter, f32)]) -> Result<Model> {
        let old = &self.0;
        if old.mapped.streamed().is_some() {
            let text = "a model whose weights are read as they are used takes no adapters";
            return Err(Error::text(ErrorKind::Unsupported, text));
        }
        if adapters.iter().any(|(_, scale)| !scale.is_finite()) {
            let text = "an adapter's scale is not a finite number";
            return Err(Error::text(ErrorKind::Invalid, text));
        }
        let (file, bytes) = (self.file(), self.bytes());
        let own = old
            .stack
            .held(&file, bytes.bytes())
            .map_err(|what| self.damaged(&what))?;
        let mut parts = vec![(own.as_slice(), 1.0)];
        parts.extend(
            adapters
                .iter()
                .map(|(adapter, scale)| (adapter.pairs(), *scale)),
        );
        let refused = |what: String| {
            let path = self.path().display();
            Error::text(ErrorKind::Mismatch, format!("{path}: {what}"))
        };
        let stack = Stack::new(&parts, old.mapped.bytes().len()).map_err(refused)?;
        let fit = inkstone_model::Model::with(file, stack.table());
        fit.map_err(|e| refused(format!("the adapter is for another model: {e}")))?;
        // As if one were attached after the other.
        let id = adapters.iter().fold(self.id(), |id, (adapter, scale)| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&id).update(&adapter.id());
            hasher.update(&scale.to_le_bytes()).finalize().into()
        });
        let inner = Inner {
            mapped: Arc::clone(&old.mapped),
            id,
            stack,
            spec: old.spec,
            layers: old.layers.clone(),
            tokenizer: old.tokenizer.clone(),
            stops: old.stops.clone(),
        };
        Ok(Model(Arc::new(inner)))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.0.mapped.path()
    }

    /// The name in the manifest, or else that of the file.
    pub fn name(&self) -> String {
        let manifest = self
            .manifest()
            .ok()
            .flatten()
            .filter(|m| !m.name.is_empty());
        let stem = || {
            self.path()
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        manifest.map_or_else(stem, |m| m.name)
    }

    /// Names what the model computes: BLAKE3 over the rows of the file's sections that matter.
    pub fn id(&self) -> [u8; 32] {
        self.0.id
    }

    /// The model's numbers.
    pub fn spec(&self) -> &Spec {
        &self.0.spec
    }

    /// The numbers of each layer.
    pub fn layers(&self) -> &[LayerSpec] {
        &self.0.layers
    }

    /// The file's sections and tensors.
    pub fn file(&self) -> File<'_> {
        self.0.mapped.file()
    }

    /// Text to tokens and back.
    pub fn tokenizer(&self) -> Tokenizer<'_> {
        let section = &self.0.mapped.bytes()[self.0.tokenizer.clone()];
        Tokenizer::parse(section).expect("`open` has parsed the same bytes")
    }

    /// The tokens that end an answer.
    pub fn stops(&self) -> &[u32] {
        &self.0.stops
    }

    /// What the model is and under which terms it stands; `None` where the file does not say.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], or [`ErrorKind::Unsupported`] for a record of a later version.
    pub fn manifest(&self) -> Result<Option<Manifest>> {
        self.record(SectionKind::Manifest)
    }

    /// How the file was made; `None` where it does not say.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub fn provenance(&self) -> Result<Option<Provenance>> {
        self.record(SectionKind::Provenance)
    }

    /// The chat template, Jinja.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`] for one that is not UTF-8.
    pub fn template(&self) -> Result<Option<&str>> {
        let Some(bytes) = self.file().section(SectionKind::Template) else {
            return Ok(None);
        };
        let text = core::str::from_utf8(bytes);
        text.map(Some)
            .map_err(|_| self.damaged("the chat template is not UTF-8"))
    }

    /// Whether the model knows conversations: a base model does not.
    pub fn has_template(&self) -> bool {
        self.file().section(SectionKind::Template).is_some()
    }

    /// The chat template as turn prefixes and suffixes, for devices without Jinja.
    pub fn turns(&self) -> Option<&[u8]> {
        self.file().section(SectionKind::Turns)
    }

    /// Reads the whole file and compares its hashes; `progress` hears of `done` of `total` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], with the place.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        self.0.mapped.verify(progress)
    }

    /// The checked model, for those who read its weights.
    pub fn view(&self) -> inkstone_model::Model<'_> {
        let model = inkstone_model::Model::with(self.file(), self.0.stack.table());
        model.expect("`open` and `attach` have checked the same bytes")
    }

    /// The bytes of the file, which places of weights count from.
    pub fn file_bytes(&self) -> &[u8] {
        self.0.mapped.bytes()
    }

    /// Whether weights are read as they are used.
    pub fn is_streamed(&self) -> bool {
        self.0.mapped.streamed().is_some()
    }

    pub(crate) fn bytes(&self) -> Bytes {
        Bytes(self.clone())
    }

    pub(crate) fn mapped(&self) -> u64 {
        self.0.mapped.bytes().len() as u64
    }

    fn record<R: Record>(&self, kind: SectionKind) -> Result<Option<R>> {
        let Some(bytes) = self.file().section(kind) else {
            return Ok(None);
        };
        let decoded = records::decode(bytes).map_err(|e| {
            let kind = match e {
                records::RecordError::Version(_) => ErrorKind::Unsupported,
                _ => ErrorKind::Damaged,
            };
            Error::text(kind, format!("{}: {e}", self.path().display()))
        });
        decoded.map(Some)
    }

    fn damaged(&self, what: &str) -> Error {
        Error::text(
            ErrorKind::Damaged,
            format!("{}: {what}", self.path().display()),
        )
    }
}

/// The file's stop tokens; `None` where they are malformed.
fn stops(file: &File<'_>, vocabulary: u32) -> Option<Vec<u32>> {
    let section = file.section(SectionKind::Stops).unwrap_or_default();
    let (words, rest) = section.as_chunks();
    let stops: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let sound = rest.is_empty() && words.len() <= 1024 && stops.iter().all(|&id| id < vocabulary);
    sound.then_some(stops)
}

fn unfit(path: &Path, error: ModelError) -> Error {
    let kind = match error {
        ModelError::NoSpec => ErrorKind::NotAModel,
        _ => ErrorKind::Damaged,
    };
    Error::text(kind, format!("{}: {error}", path.display()))
}
