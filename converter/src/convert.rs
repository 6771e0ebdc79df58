//! Writes a checkpoint as one `.ink` file, tensor by tensor.

use core::fmt;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use inkstone_format::records::{self, Manifest, Origin as Record, Provenance, Rewrite};
use inkstone_format::{Declaration, NO_LAYER, SectionKind, WriteError, Writer};
use inkstone_model::weights::{EMBED, HEAD};
use inkstone_quant::{FORMATS, Format, PANEL};
use inkstone_text::{Tokenizer, Vocabulary, turns};

use crate::error::{Error, ErrorKind, Result, malformed, missing, over_limit};
use crate::ggml_types::GgmlType;
use crate::pack::{Packer, Panel, Route};
use crate::parts::{Origin, Part, Parts};
use crate::source::{self, Source};
use crate::{manifest, rewrite, tokenizer};

/// Tokens that end an answer wherever a vocabulary has them as control tokens, whatever its
/// settings say.
static ENDS: &[&str] = &[
    "<|im_end|>",
    "<|endoftext|>",
    "<end_of_turn>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|end|>",
    "</s>",
    "<eos>",
];
/// A file that ends answers by more tokens than this is none of a model.
const STOPS_MAX: usize = 64;
/// Bytes of panels that a thread makes before they are written.
const TURN_BYTES: usize = 1 << 20;
const THREADS_MAX: usize = 16;

/// Which formats weights are stored in.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    /// What users call it.
    pub name: &'static str,
    matrices: fn(&GgmlType) -> Result<(Route, &'static Format)>,
    /// The embedding and the output, which suffer most.
    ends: fn(&GgmlType) -> Result<(Route, &'static Format)>,
    change: &'static str,
}

/// The values of `--weights`.
pub static WEIGHTS: &[Weights] = &[KEEP, Q8, Q4];

/// As the source stores them, bit for bit where the runtime has its format.
pub const KEEP: Weights = Weights {
    name: "keep",
    matrices: Route::keeping,
    ends: Route::keeping,
    change: "weights kept as stored",
};
/// 8.5 bits.
pub const Q8: Weights = Weights {
    name: "q8",
    matrices: Route::to_q8,
    ends: Route::to_q8,
    change: "weights rounded to q8",
};
/// 4.25 bits, embedding and output 5.25.
pub const Q4: Weights = Weights {
    name: "q4",
    matrices: Route::to_q4,
    ends: Route::to_q5,
    change: "weights rounded to q4, embedding and output to q5",
};
/// How to convert.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which formats weights are stored in.
    pub weights: Weights,
    /// The command, for the record.
    pub command: Vec<String>,
    /// What the caller knows of licence and origin; it wins over what the source says.
    pub manifest: Manifest,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            weights: KEEP,
            command: Vec::new(),
            manifest: Manifest::default(),
        }
    }
}

/// How far a conversion is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The tensor of the source that is worked on.
    pub tensor: &'a str,
    /// Bytes of weights written.
    pub done: u64,
    /// Bytes of weights in all.
    pub total: u64,
}

/// What was written.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// The id of the model.
    pub id: [u8; 32],
    /// The tensors, in the order of the file.
    pub tensors: Vec<Written>,
    /// What the user should know, a sentence each.
    pub notes: Vec<String>,
}

/// One tensor that was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// Its layer, or `NO_LAYER`.
    pub layer: u16,
    /// The name of its role.
    pub role: &'static str,
    /// Rows.
    pub rows: u64,
    /// Inputs of a row.
    pub inputs: u64,
    /// The name of its format.
    pub format: &'static str,
    /// Bytes in the file.
    pub bytes: u64,
    /// Its name in the source; empty if it was computed.
    pub source: String,
    /// The type of its numbers in the source.
    pub stored_as: &'static str,
    /// What was done to it.
    pub rewrites: Vec<Rewrite>,
}

impl Weights {
    /// The choice called `name`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        WEIGHTS.iter().find(|weights| weights.name == name)
    }

    fn route(&self, role: u16, kind: &GgmlType) -> Result<(Route, &'static Format)> {
        match role {
            EMBED | HEAD => (self.ends)(kind),
            _ => (self.matrices)(kind),
        }
    }
}

impl Report {
    /// Tensors and bytes of each format, by its name.
    #[must_use]
    pub fn formats(&self) -> BTreeMap<&'static str, (usize, u64)> {
        let mut formats = BTreeMap::new();
        for tensor in &self.tensors {
            let entry: &mut (usize, u64) = formats.entry(tensor.format).or_default();
            entry.0 += 1;
            entry.1 += tensor.bytes;
        }
        formats
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (format, (tensors, bytes)) in self.formats() {
            writeln!(f, "{format:>8} {tensors:5} tensors {bytes:12} bytes")?;
        }
        let mut rewrites: BTreeMap<(&str, String), usize> = BTreeMap::new();
        for tensor in &self.tensors {
            for rewrite in &tensor.rewrites {
                let key = (tensor.role, format!("{rewrite:?}"));
                *rewrites.entry(key).or_default() += 1;
            }
        }
        for ((role, rewrite), count) in rewrites {
            writeln!(f, "{role:>16} x {count:<4} {rewrite}")?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        writeln!(f, "{} bytes in all", self.file_bytes)
    }
}

/// Writes `source` to `path`; the file has its name only when it is whole.
///
/// Memory is that of the largest tensor of the source, one panel and the vocabulary. `progress` tells whether to go on.
///
/// # Errors
/// It was not to go on, the source lacks something or holds what the runtime cannot run, or a file cannot be read or
/// written.
pub fn convert(
    source: &Source,
    path: &Path,
    options: &Options,
    progress: &mut dyn FnMut(&Progress<'_>) -> bool,
) -> Result<Report> {
    let parts = Parts::of(source)?;
    let plans = parts
        .parts
        .iter()
        .map(|part| Plan::of(source, part, parts.tied, &options.weights))
        .collect::<Result<Vec<_>>>()?;
    let mut notes = Vec::new();
    let sections = sections(source, &parts, &plans, options, &mut notes)?;
    let borrowed: Vec<(SectionKind, &[u8])> = sections
        .iter()
        .map(|(kind, bytes)| (*kind, bytes.as_slice()))
        .collect();
    let declarations: Vec<Declaration> = plans.iter().map(|plan| plan.declaration).collect();
    let written = |error: WriteError| unwritten(error).in_file(path);
    let mut writer = Writer::create(path, &borrowed, &declarations).map_err(written)?;
    let total = plans.iter().map(|plan| plan.bytes).sum();
    let (mut done, mut bytes) = (0, Vec::new());
    for (index, plan) in plans.iter().enumerate() {
        let tensor = plan.source.map_or("", |t| &t.name);
        if !progress(&Progress {
            tensor,
            done,
            total,
        }) {
            return Err(Error::new(ErrorKind::Cancelled, "stopped").in_file(path));
        }
        let mut out = writer.tensor(index).map_err(written)?;
        plan.write(source, &mut bytes, &mut |piece| {
            out.write_all(piece).map_err(|e| written(WriteError::Io(e)))
        })?;
        done += plan.bytes;
    }
    progress(&Progress {
        tensor: "",
        done,
        total,
    });
    let file_bytes = writer.file_bytes();
    Ok(Report {
        file_bytes,
        id: writer.finish().map_err(written)?,
        tensors: plans.iter().map(Plan::written).collect(),
        notes,
    })
}

fn unwritten(error: WriteError) -> Error {
    let kind = match error {
        WriteError::Io(_) => ErrorKind::Io,
        _ => ErrorKind::Limit,
    };
    Error::new(kind, "cannot write").because(error)
}

/// How one tensor is written.
struct Plan<'a> {
    part: &'a Part,
    source: Option<&'a source::Tensor>,
    route: Route,
    declaration: Declaration,
    bytes: u64,
    rewrites: Vec<Rewrite>,
}

impl<'a> Plan<'a> {
    fn of(source: &'a Source, part: &'a Part, tied: bool, weights: &Weights) -> Result<Self> {
        let plain = &FORMATS[0];
        let (tensor, mut rewrites) = match &part.origin {
            Origin::Computed(_) => (None, Vec::new()),
            Origin::Tensor { name, rewrites } => {
                let tensor = source
                    .tensor(name)
                    .expect("a part names a tensor of its source");
                (Some(tensor), rewrites.clone())
            }
        };
        let (route, format) = match tensor {
            Some(tensor) if !part.vector => weights.route(part.role, tensor.kind)?,
            _ => (Route::Plain, plain),
        };
        if let Some(tensor) = tensor.filter(|_| !route.is_lossless()) {
            rewrites.push(Rewrite::Transcode {
                from: tensor.kind.name.to_owned(),
                to: format.name.to_owned(),
            });
        }
        // A matrix that is only looked up is row-major.
        let looked_up = part.role == EMBED && !tied;
        let declaration = Declaration {
            layer: part.layer,
            role: part.role,
            format,
            panel_rows: if part.vector || looked_up {
                1
            } else {
                PANEL as u8
            },
            rows: part.rows.try_into().map_err(|_| large(part))?,
            inputs: part.inputs.try_into().map_err(|_| large(part))?,
        };
        Ok(Self {
            part,
            source: tensor,
            route,
            bytes: declaration.bytes().ok_or_else(|| large(part))?,
            declaration,
            rewrites,
        })
    }

    /// Gives the bytes of the tensor to `out`, piece by piece.
    fn write(
        &self,
        source: &Source,
        bytes: &mut Vec<u8>,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if self.part.vector {
            return out(&self.vector(source)?);
        }
        let tensor = self.source.expect("every matrix comes from the source");
        let rows = rewrite::apply(&self.rewrites, tensor.matrix().0)?.rows;
        let height = usize::from(self.declaration.panel_rows);
        let inputs = self.declaration.inputs as usize;
        let panel =
            Panel::new(self.declaration.format, height, inputs).ok_or_else(|| large(self.part))?;
        let named = |e: Error| e.about(&tensor.name);
        let turn = height * (TURN_BYTES / panel.bytes().len().max(1)).max(1);
        let packer = Packer::new(self.route, tensor.kind, panel).map_err(named)?;
        let mut packers = vec![packer; threads()];
        source.read(tensor, bytes)?;
        for rows in rows.chunks(turn * packers.len()) {
            for packed in pack(&mut packers, bytes, rows, turn) {
                out(&packed.map_err(named)?)?;
            }
        }
        Ok(())
    }

    /// A vector's numbers, with alignment, as little-endian F32.
    fn vector(&self, source: &Source) -> Result<Vec<u8>> {
        let numbers = vector(source, self.part)?;
        let mut bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        bytes.resize(
            usize::try_from(self.bytes).map_err(|_| large(self.part))?,
            0,
        );
        Ok(bytes)
    }

    fn written(&self) -> Written {
        Written {
            layer: self.part.layer,
            role: self.part.role_name(),
            rows: self.part.rows,
            inputs: self.part.inputs,
            format: self.declaration.format.name,
            bytes: self.bytes,
            source: self.source.map(|t| t.name.clone()).unwrap_or_default(),
            stored_as: self.source.map_or("", |t| t.kind.name),
            rewrites: self.rewrites.clone(),
        }
    }

    fn record(&self) -> Record {
        let written = self.written();
        Record {
            layer: self.part.layer,
            role: self.part.role,
            source: written.source,
            stored_as: written.stored_as.to_owned(),
            rewrites: written.rewrites,
        }
    }
}

/// Packs `turn` rows on each thread, and gives the panels in the order of the rows.
fn pack(packers: &mut [Packer], bytes: &[u8], rows: &[u32], turn: usize) -> Vec<Result<Vec<u8>>> {
    thread::scope(|scope| {
        let turns = packers.iter_mut().zip(rows.chunks(turn));
        let started: Vec<_> = turns
            .map(|(packer, rows)| scope.spawn(move || packer.pack_all(bytes, rows)))
            .collect();
        let ended = started.into_iter().map(|thread| thread.join());
        ended
            .map(|packed| packed.unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

fn threads() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get().min(THREADS_MAX))
}

/// The numbers of a gain, a bias or a table, rewritten.
pub(crate) fn vector(source: &Source, part: &Part) -> Result<Vec<f32>> {
    match &part.origin {
        Origin::Computed(numbers) => Ok(numbers.clone()),
        Origin::Tensor { name, rewrites } => {
            let tensor = source
                .tensor(name)
                .ok_or_else(|| missing(format!("no tensor {name}")))?;
            let numbers = source.numbers(tensor)?;
            let rewritten = rewrite::apply(rewrites, numbers.len() as u64)?;
            let add = |row: &u32| match rewritten.add {
                0.0 => numbers[*row as usize],
                add => numbers[*row as usize] + add,
            };
            Ok(rewritten.rows.iter().map(add).collect())
        }
    }
}

fn large(part: &Part) -> Error {
    let (layer, role) = (part.layer, part.role_name());
    over_limit(format!(
        "{role} of layer {layer}: {} x {}",
        part.rows, part.inputs
    ))
}

type Sections = Vec<(SectionKind, Vec<u8>)>;

fn sections(
    source: &Source,
    parts: &Parts,
    plans: &[Plan<'_>],
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<Sections> {
    let mut sections = vec![(SectionKind::Spec, parts.resolved.section())];
    let text = text_sections(source, notes)?;
    sections.extend(text);
    let origin = source.files().next().and_then(Path::file_name);
    let origin = origin.map(|name| name.to_string_lossy().into_owned());
    let change = format!(
        "converted from {} by inkstone {}, {}",
        origin.unwrap_or_default(),
        env!("CARGO_PKG_VERSION"),
        options.weights.change
    );
    let found = manifest::from_source(&source.about, change);
    let manifest = manifest::under(options.manifest.clone(), found);
    if manifest.licence.is_none() {
        notes.push("the licence is unknown".to_owned());
    }
    let encoded = records::encode(&manifest);
    if encoded.len() > records::MAX_RECORD_BYTES {
        return Err(over_limit(format!(
            "{} bytes of name, licence and attribution",
            encoded.len()
        )));
    }
    sections.push((SectionKind::Manifest, encoded));
    let transcoded = plans
        .iter()
        .filter(|plan| !plan.route.is_lossless())
        .count();
    if transcoded > 0 {
        notes.push(format!(
            "{transcoded} tensors were stored in another format"
        ));
    }
    let provenance = Provenance {
        converter: concat!("inkstone-converter ", env!("CARGO_PKG_VERSION")).to_owned(),
        command: options.command.clone(),
        sources: source.files().map(digest).collect::<Result<_>>()?,
        tensors: plans.iter().map(Plan::record).collect(),
    };
    sections.push((SectionKind::Provenance, records::encode(&provenance)));
    Ok(sections)
}

/// Vocabulary, template, turns and stops.
fn text_sections(source: &Source, notes: &mut Vec<String>) -> Result<Sections> {
    let mut sections = Vec::new();
    let Some(vocabulary) = vocabulary(source)? else {
        notes.push("there is no vocabulary: the file knows tokens by number only".to_owned());
        sections.push((SectionKind::Stops, stops_section(&source.stops)));
        return Ok(sections);
    };
    let tokenizer = tokenizer_section(&vocabulary)?;
    let parsed = Tokenizer::parse(&tokenizer)
        .map_err(|e| malformed("the vocabulary cannot be laid out").because(e))?;
    let mut stops = source.stops.clone();
    stops.extend(vocabulary.eos);
    stops.extend(ENDS.iter().filter_map(|end| {
        let id = parsed.id_of(end)?;
        parsed.is_control(id).then_some(id)
    }));
    stops.sort_unstable();
    stops.dedup();
    stops.retain(|&id| (id as usize) < parsed.len());
    sections.push((SectionKind::Stops, stops_section(&stops)));
    match &source.chat_template {
        None => notes.push("there is no chat template: it is a base model".to_owned()),
        Some(template) => {
            let text = |id: Option<u32>| {
                let bytes = id.and_then(|id| parsed.token_bytes(id)).unwrap_or(&[]);
                String::from_utf8_lossy(bytes).into_owned()
            };
            let turns = turns::derive(template, &text(vocabulary.bos), &text(vocabulary.eos));
            match turns.and_then(|turns| turns.to_bytes().ok()) {
                Some(turns) => sections.push((SectionKind::Turns, turns)),
                None => notes.push("the chat template needs Jinja on the device".to_owned()),
            }
            sections.push((SectionKind::Template, template.clone().into_bytes()));
        }
    }
    sections.push((SectionKind::Tokenizer, tokenizer));
    Ok(sections)
}

/// The vocabulary of a source, wherever it is kept.
pub(crate) fn vocabulary(source: &Source) -> Result<Option<Vocabulary>> {
    let path = match &source.vocabulary {
        source::Vocabulary::Gguf(gguf) => {
            let known = gguf.get("tokenizer.ggml.model").is_some();
            let read = || tokenizer::from_gguf(gguf.header()).map_err(|e| e.in_file(gguf.path()));
            return known.then(read).transpose();
        }
        source::Vocabulary::Folder(folder) => folder
            .tokenizer_json
            .as_ref()
            .or(folder.tokenizer_model.as_ref()),
        source::Vocabulary::Llama2c(path) => path.as_ref(),
    };
    path.map(|path| tokenizer::open(path)).transpose()
}

/// The tokenizer section of a vocabulary.
pub(crate) fn tokenizer_section(vocabulary: &Vocabulary) -> Result<Vec<u8>> {
    inkstone_text::build(vocabulary)
        .map_err(|e| malformed("the vocabulary cannot be laid out").because(e))
}

fn stops_section(stops: &[u32]) -> Vec<u8> {
    let stops = stops.iter().take(STOPS_MAX);
    stops.flat_map(|id| id.to_le_bytes()).collect()
}

fn digest(path: &Path) -> Result<records::Source> {
    let failed = |e: std::io::Error| Error::from(e).in_file(path);
    let mut file = File::open(path).map_err(failed)?;
    let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
    let name = path.file_name().unwrap_or(path.as_os_str());
    Ok(records::Source {
        name: name.to_string_lossy().into_owned(),
        bytes,
        digest: format!("blake3:{}", hasher.finalize().to_hex()),
    })
}

const _: () = assert!(NO_LAYER == inkstone_model::weights::NO_LAYER);
