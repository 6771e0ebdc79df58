//! `inkstone inspect`: what a model file says of itself.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use inkstone_converter::Source;
use inkstone_converter::manifest;
use inkstone_converter::source::{About, Tensor};
use inkstone_engine::format;
use inkstone_engine::format::SectionKind;
use inkstone_engine::format::records::Manifest;
use inkstone_engine::hash::hex;
use inkstone_engine::{LayerSpec, Model, Spec};
use inkstone_model::weights;
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments;
use crate::resolve;
use crate::store::licence_of;
use crate::terminal::{Bytes, Terminal, visible};
use crate::text_side::is_ink;

/// Show what a model is: licence, origin, shape, formats
///
/// A checkpoint that is no .ink file is shown as it is, not converted; of a name, its conversion where there is one.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone inspect smollm2-135m --tensors")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: arguments::Model,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
    /// Read the whole file and compare its hashes
    #[arg(long)]
    verify: bool,
}

/// Inspects.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let name = arguments.model.name()?;
    let (path, about) = resolve::shown(terminal, name)?;
    if !path.is_dir() && is_ink(&path)? {
        return model(arguments, terminal, &path);
    }
    if arguments.verify {
        return Err(crate::exit::Usage::error(format!(
            "{name}: only .ink files hold hashes; convert it first"
        )));
    }
    checkpoint(arguments, terminal, &path, about)
}

fn model(arguments: &Arguments, terminal: &Terminal, path: &Path) -> anyhow::Result<()> {
    let model = Model::open(path)?;
    if arguments.verify {
        let progress = terminal.progress("verifying", Some(model.file().bytes().len() as u64));
        model.verify(&mut |done, _| progress.at(done))?;
    }
    let shown = Shown {
        bytes: model.file().bytes().len() as u64,
        about: model.manifest()?.unwrap_or_default(),
        tensors: model
            .file()
            .tensors()
            .map(|tensor| row_of(&tensor))
            .collect(),
        extra: extra(&model)?,
        shape: shape(&model),
    };
    shown.print(arguments, terminal, path)
}

fn checkpoint(
    arguments: &Arguments,
    terminal: &Terminal,
    path: &Path,
    about: Manifest,
) -> anyhow::Result<()> {
    let source = Source::open(path)?;
    let shown = Shown {
        bytes: source.tensors().iter().map(Tensor::bytes).sum(),
        about: manifest::under(about, manifest_of(&source.about)),
        tensors: source.tensors().iter().map(row_of_source).collect(),
        extra: vec![
            ("kind", json!("a checkpoint, not converted")),
            ("chat_template", json!(source.chat_template.is_some())),
            ("stops", json!(source.stops)),
        ],
        shape: shape_of_source(&source),
    };
    shown.print(arguments, terminal, path)
}

/// What is shown of a file, whatever kind it is.
struct Shown {
    bytes: u64,
    about: Manifest,
    tensors: Vec<Row>,
    extra: Vec<(&'static str, Value)>,
    shape: Vec<(&'static str, Value)>,
}

/// One tensor.
#[derive(Serialize)]
struct Row {
    name: String,
    format: &'static str,
    rows: u64,
    inputs: u64,
    bytes: u64,
}

impl Shown {
    fn print(&self, arguments: &Arguments, terminal: &Terminal, path: &Path) -> anyhow::Result<()> {
        let formats = self.formats();
        let mut value = json!({
            "path": path,
            "bytes": self.bytes,
            "licence": licence_of(&self.about),
            "about": self.about,
            "formats": formats.iter().map(|(name, (n, bytes))| ((*name).to_owned(), json!({"tensors": n, "bytes": bytes}))).collect::<serde_json::Map<_, _>>(),
        });
        for (name, field) in self.shape.iter().chain(&self.extra) {
            value[*name] = field.clone();
        }
        if arguments.verify {
            value["verified"] = json!(true);
        }
        if arguments.tensors {
            value["tensors"] = json!(self.tensors);
        }
        terminal.result(&value, |out| {
            writeln!(out, "{}: {}", path.display(), Bytes(self.bytes))?;
            self.rights(out)?;
            for (name, field) in self.shape.iter().chain(&self.extra) {
                line(out, name, field)?;
            }
            for (name, (tensors, bytes)) in &formats {
                writeln!(
                    out,
                    "{:18} {name:6} {tensors:4} tensors {bytes:>13} bytes",
                    "format"
                )?;
            }
            if arguments.verify {
                line(out, "verified", &json!("every hash is right"))?;
            }
            if arguments.tensors {
                for row in &self.tensors {
                    writeln!(
                        out,
                        "{:28} {:6} {:>7} x {:<6} {:>12}",
                        row.name, row.format, row.rows, row.inputs, row.bytes
                    )?;
                }
            }
            Ok(())
        })
    }

    fn rights(&self, out: &mut dyn Write) -> io::Result<()> {
        let about = &self.about;
        line(out, "licence", &json!(licence_of(about)))?;
        let text = about
            .licence_text
            .iter()
            .filter_map(|text| text.lines().next());
        text.chain(about.licence_address.as_deref())
            .try_for_each(|text| line(out, "", &json!(text)))?;
        for (name, texts) in [
            ("made by", &about.attribution),
            ("base model", &about.base_models),
            ("changes", &about.changes),
        ] {
            texts
                .iter()
                .try_for_each(|text| line(out, name, &json!(text)))?;
        }
        Ok(())
    }

    fn formats(&self) -> BTreeMap<&'static str, (usize, u64)> {
        let mut formats = BTreeMap::new();
        for row in &self.tensors {
            let entry: &mut (usize, u64) = formats.entry(row.format).or_default();
            entry.0 += 1;
            entry.1 += row.bytes;
        }
        formats
    }
}

fn line(out: &mut dyn Write, name: &str, value: &Value) -> io::Result<()> {
    let name = name.replace('_', " ");
    match value {
        Value::String(text) => writeln!(out, "{name:18} {}", visible(text)),
        Value::Null => Ok(()),
        other => writeln!(out, "{name:18} {other}"),
    }
}

fn extra(model: &Model) -> anyhow::Result<Vec<(&'static str, Value)>> {
    let provenance = model.provenance()?;
    let tokenizer = model.tokenizer();
    let (major, minor) = model.file().version();
    Ok(vec![
        ("id", json!(hex(&model.id()))),
        ("file_version", json!(format!("{major}.{minor}"))),
        (
            "converter",
            json!(provenance.as_ref().map(|p| &p.converter)),
        ),
        ("sources", json!(provenance.as_ref().map(|p| &p.sources))),
        ("tokens", json!(tokenizer.len())),
        ("pretokenizer", json!(tokenizer.pretokenizer().name)),
        ("chat_template", json!(model.has_template())),
        (
            "turns",
            json!(model.file().section(SectionKind::Turns).is_some()),
        ),
        ("stops", json!(model.stops())),
    ])
}

fn shape(model: &Model) -> Vec<(&'static str, Value)> {
    let spec: &Spec = model.spec();
    let layers = model.layers();
    let windows = layers.iter().filter(|layer| layer.window.is_some()).count();
    vec![
        ("name", json!(model.name())),
        ("vocabulary", json!(spec.vocabulary)),
        ("context", json!(spec.context)),
        ("width", json!(spec.width)),
        ("layers", json!(spec.layers)),
        ("heads", first(layers, |l| l.heads)),
        ("kv_heads", first(layers, |l| l.kv_heads)),
        ("head_width", first(layers, |l| l.head_width)),
        ("ffn_width", first(layers, |l| l.ffn_width)),
        ("windowed_layers", json!(windows)),
        ("window", json!(layers.iter().find_map(|l| l.window))),
    ]
}

fn first(layers: &[LayerSpec], field: fn(&LayerSpec) -> u32) -> Value {
    json!(layers.first().map(field))
}

fn shape_of_source(source: &Source) -> Vec<(&'static str, Value)> {
    let config = &source.config;
    let windows = config.windowed.iter().filter(|windowed| **windowed).count();
    vec![
        ("name", json!(source.about.name)),
        ("architecture", json!(config.arch.name)),
        ("vocabulary", json!(config.vocab)),
        ("context", json!(config.context)),
        ("width", json!(config.width)),
        ("layers", json!(config.layers)),
        ("heads", json!(config.heads)),
        ("kv_heads", json!(config.kv_heads)),
        ("head_width", json!(config.head_dim)),
        ("ffn_width", json!(config.ffn_width)),
        ("windowed_layers", json!(windows)),
        ("window", json!(config.window)),
    ]
}

fn manifest_of(about: &About) -> Manifest {
    Manifest {
        changes: Vec::new(),
        ..manifest::from_source(about, String::new())
    }
}

fn row_of(tensor: &format::Tensor) -> Row {
    let role = weights::ROLES.iter().find(|role| role.id == tensor.role);
    let role = role.map_or("unknown", |role| role.name);
    Row {
        name: match super::layer(tensor.layer) {
            Some(layer) => format!("{layer}.{role}"),
            None => role.to_owned(),
        },
        format: tensor.format.name,
        rows: tensor.rows.into(),
        inputs: tensor.inputs.into(),
        bytes: tensor.bytes,
    }
}

fn row_of_source(tensor: &Tensor) -> Row {
    let (rows, inputs) = tensor.matrix();
    Row {
        name: tensor.name.clone(),
        format: tensor.kind.name,
        rows,
        inputs,
        bytes: tensor.bytes(),
    }
}
