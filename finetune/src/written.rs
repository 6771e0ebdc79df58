//! `.ink` files made of one that is there: with adapters beside its tensors, with adapters merged into them, or with
//! tensors of other numbers.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use inkstone_converter::pack::{CodedRow, Panel};
use inkstone_converter::quantize;
use inkstone_engine::Model;
use inkstone_engine::format::records::{self, Manifest, Origin, Provenance};
use inkstone_format::{Declaration, SectionKind, Writer};
use inkstone_model::Matrix;
use inkstone_model::weights::{ADAPTED, LinearRoles, is_adapter};
use inkstone_quant::{Encoding, Format, PANEL};

use crate::adapter::{Loaded, Thin};
use crate::net::{Net, name};
use crate::weight::unpacked;

/// How numbers become rows of codes.
type Quantize = fn(&[f32], &mut CodedRow);

/// Formats that numbers are written in: names of `FORMATS`.
static FORMS: &[(&str, Option<Quantize>)] = &[
    ("F32", None),
    ("q8", Some(quantize::q8)),
    ("q5", Some(quantize::q5)),
    ("q4", Some(quantize::q4)),
];

/// The formats that a merged or wholly trained model can be written in, by name.
#[must_use]
pub fn forms() -> Vec<&'static str> {
    FORMS.iter().map(|(name, _)| *name).collect()
}

/// A tensor of other numbers than the base's, or one that the base has not.
struct Numbers<'a> {
    rows: usize,
    columns: usize,
    values: Values<'a>,
    form: &'static str,
}

/// Made when they are written, one tensor at a time.
type Values<'a> = Box<dyn Fn() -> Vec<f32> + 'a>;

fn plain(rows: usize, columns: usize, values: Values<'_>) -> Numbers<'_> {
    Numbers {
        rows,
        columns,
        values,
        form: "F32",
    }
}

/// What the new tensors are, by layer and role.
type Changes<'a> = BTreeMap<(u16, u16), Numbers<'a>>;

/// Writes the base with an adapter beside its tensors, which keep every bit.
///
/// # Errors
/// The adapter does not fit, the base has one already, or the file system's answer.
pub fn attach(model: &Model, adapter: &Path, to: &Path) -> Result<()> {
    let loaded = Loaded::open(adapter)?;
    let changes = thin_matrices(model, &loaded)?;
    let taken = |(layer, role): &(u16, u16)| model.file().tensor(*layer, *role).is_some();
    ensure!(
        !changes.keys().any(taken),
        "{}: has an adapter already; detach it first",
        model.path().display()
    );
    let change = format!(
        "LoRA adapter of rank {} attached; the base's weights are unchanged",
        loaded.config.r
    );
    write(model, to, &changes, &change, false)
}

/// Writes an adapter as a file of its own, for the base.
///
/// # Errors
/// The adapter does not fit, or the file system's answer.
pub fn import(model: &Model, adapter: &Path, to: &Path) -> Result<()> {
    let loaded = Loaded::open(adapter)?;
    let changes = thin_matrices(model, &loaded)?;
    let tensors: Vec<Declaration> = changes.iter().map(declared).collect();
    let mut manifest = model.manifest()?.unwrap_or_default();
    of_base(&mut manifest, model);
    manifest.changes = vec![format!("a LoRA adapter of rank {}", loaded.config.r)];
    let (id, manifest) = (model.file().id(), records::encode::<Manifest>(&manifest));
    let sections = [
        (SectionKind::Manifest, manifest.as_slice()),
        (SectionKind::Adapter, &id),
    ];
    fill(to, &sections, &tensors, |t, out| {
        let numbers = changes.get(&(t.layer, t.role)).context("it was declared")?;
        panels(numbers, t, out)
    })
}

/// An adapter's matrices as tensors of a file, `b` with its scale in it; they must fit the model.
fn thin_matrices<'l>(model: &Model, loaded: &'l Loaded) -> Result<Changes<'l>> {
    let scale = loaded.scale();
    let mut changes = Changes::new();
    for (layer, [_, _, a, b], thin) in places(model, loaded)? {
        let rank = thin.rank;
        let values = Box::new(|| thin.a.clone());
        changes.insert((layer, a), plain(rank, thin.inputs, values));
        let scaled = move || thin.b.iter().map(|b| b * scale).collect();
        changes.insert((layer, b), plain(thin.rows, rank, Box::new(scaled)));
    }
    Ok(changes)
}

fn declared(((layer, role), numbers): (&(u16, u16), &Numbers<'_>)) -> Declaration {
    Declaration {
        layer: *layer,
        role: *role,
        format: format(numbers.form),
        panel_rows: PANEL as u8,
        rows: numbers.rows as u32,
        inputs: numbers.columns as u32,
    }
}

/// The model is a base of what is made of it.
fn of_base(manifest: &mut Manifest, model: &Model) {
    let name = model.name();
    if !manifest.base_models.contains(&name) {
        manifest.base_models.insert(0, name);
    }
}

/// Writes a file, tensor by tensor.
fn fill(
    to: &Path,
    sections: &[(SectionKind, &[u8])],
    tensors: &[Declaration],
    put: impl Fn(&Declaration, &mut dyn FnMut(&[u8]) -> std::io::Result<()>) -> Result<()>,
) -> Result<()> {
    let at = || to.display().to_string();
    let mut writer = Writer::create(to, sections, tensors).with_context(at)?;
    for (index, t) in tensors.iter().enumerate() {
        let mut out = writer.tensor(index).with_context(at)?;
        put(t, &mut |bytes| out.write_all(bytes)).with_context(at)?;
    }
    writer.finish().with_context(at)?;
    Ok(())
}

/// Writes the base without the adapters beside its tensors.
///
/// # Errors
/// It has none, or the file system's answer.
pub fn detach(model: &Model, to: &Path) -> Result<()> {
    ensure!(
        is_adapted(model),
        "{}: has no adapter",
        model.path().display()
    );
    write(model, to, &Changes::new(), "adapter detached", true)
}

/// Writes the base with an adapter merged into its matrices, in `form`; tensor by tensor.
///
/// # Errors
/// The adapter does not fit, or the file system's answer.
pub fn merge(model: &Model, adapter: &Path, to: &Path, form: &str) -> Result<()> {
    ensure!(
        !is_adapted(model),
        "{}: has an adapter already, which would be lost; detach it first",
        model.path().display()
    );
    let form = form_named(form)?;
    let loaded = Loaded::open(adapter)?;
    let mut changes = Changes::new();
    let file = model.file_bytes();
    for (layer, [weight, ..], thin) in places(model, &loaded)? {
        let scale = loaded.scale();
        let tensor = model.file().tensor(layer, weight);
        let matrix = tensor
            .and_then(|tensor| Matrix::of(&tensor))
            .context("a matrix that has no place")?;
        let merged = move || {
            let mut values = unpacked(&matrix, file, &(0..matrix.rows));
            for (row, b) in values
                .chunks_exact_mut(matrix.inputs)
                .zip(thin.b.chunks_exact(thin.rank))
            {
                for (b, a) in b.iter().zip(thin.a.chunks_exact(thin.inputs)) {
                    inkstone_cpu::train::rows::add_scaled(row, a, b * scale);
                }
            }
            values
        };
        let numbers = Numbers {
            rows: matrix.rows,
            columns: matrix.inputs,
            values: Box::new(merged),
            form,
        };
        changes.insert((layer, weight), numbers);
    }
    let change = format!(
        "LoRA adapter of rank {} merged, rounded to {form}",
        loaded.config.r
    );
    write(model, to, &changes, &change, true)
}

/// Writes a net that was trained as a whole, its matrices in `form`.
///
/// # Errors
/// The file system's answer.
pub fn whole(model: &Model, net: &Net<'_>, to: &Path, form: &str) -> Result<()> {
    let form = form_named(form)?;
    let mut changes = Changes::new();
    for tensor in model.file().tensors() {
        let named = name(tensor.layer, tensor.role);
        let Some(trained) = net.trained.iter().find(|trained| trained.name == named) else {
            continue;
        };
        let numbers = Numbers {
            rows: trained.rows,
            columns: trained.columns,
            values: Box::new(|| trained.values.clone()),
            form: if tensor.rows == 1 { "F32" } else { form },
        };
        changes.insert((tensor.layer, tensor.role), numbers);
    }
    write(
        model,
        to,
        &changes,
        &format!("all weights trained, rounded to {form}"),
        true,
    )
}

fn form_named(form: &str) -> Result<&'static str> {
    let found = FORMS.iter().find(|(name, _)| *name == form);
    found
        .map(|(name, _)| *name)
        .with_context(|| format!("no form {form}; there are {}", forms().join(", ")))
}

/// Whether the model has adapters beside its tensors.
#[must_use]
pub fn is_adapted(model: &Model) -> bool {
    model.file().tensors().any(|tensor| is_adapter(tensor.role))
}

/// Where each pair of thin matrices belongs; it must fit there.
fn places<'l>(model: &Model, loaded: &'l Loaded) -> Result<Vec<(u16, LinearRoles, &'l Thin)>> {
    let mut places = Vec::new();
    for ((layer, role), thin) in &loaded.pairs {
        let roles = ADAPTED.iter().find(|roles| roles[0] == *role);
        let roles = roles.context("adapters stand on the matrices of the table")?;
        let Some(base) = model.file().tensor(*layer, *role) else {
            bail!("the model has no {}", name(*layer, *role));
        };
        let fits = (base.rows as usize, base.inputs as usize) == (thin.rows, thin.inputs);
        ensure!(
            fits,
            "{}: the adapter is for {} x {}, the model has {} x {}",
            name(*layer, *role),
            thin.rows,
            thin.inputs,
            base.rows,
            base.inputs
        );
        places.push((*layer, *roles, thin));
    }
    Ok(places)
}

/// Copies what is not changed; with `bare` the base's own adapters are left out.
fn write(model: &Model, to: &Path, changes: &Changes<'_>, change: &str, bare: bool) -> Result<()> {
    let file = model.file();
    let mut tensors = Vec::new();
    for t in file.tensors().filter(|t| !(bare && is_adapter(t.role))) {
        let format = match changes.get(&(t.layer, t.role)) {
            Some(numbers) => format(numbers.form),
            None => t.format,
        };
        tensors.push(Declaration { format, ..t.into() });
    }
    let new = changes
        .iter()
        .filter(|((layer, role), _)| file.tensor(*layer, *role).is_none());
    tensors.extend(new.map(declared));
    tensors.sort_by_key(|t| (t.layer, t.role));
    let sections = sections(model, change, &tensors)?;
    let sections: Vec<(SectionKind, &[u8])> = sections
        .iter()
        .map(|(kind, bytes)| (*kind, bytes.as_slice()))
        .collect();
    fill(to, &sections, &tensors, |t, out| {
        let Some(numbers) = changes.get(&(t.layer, t.role)) else {
            let tensor = file.tensor(t.layer, t.role).context("it was listed")?;
            return Ok(out(file.payload(&tensor))?);
        };
        panels(numbers, t, out)
    })
}

fn format(name: &str) -> &'static Format {
    Format::by_name(name).expect("the table names formats of the runtime")
}

/// The sections of the base; manifest and provenance say what was changed.
fn sections(
    model: &Model,
    change: &str,
    tensors: &[Declaration],
) -> Result<Vec<(SectionKind, Vec<u8>)>> {
    let kinds = [
        SectionKind::Spec,
        SectionKind::Tokenizer,
        SectionKind::Template,
        SectionKind::Turns,
        SectionKind::Stops,
    ];
    let file = model.file();
    let mut sections: Vec<(SectionKind, Vec<u8>)> = kinds
        .into_iter()
        .filter_map(|kind| Some((kind, file.section(kind)?.to_vec())))
        .collect();
    let mut manifest = model.manifest()?.unwrap_or_default();
    of_base(&mut manifest, model);
    manifest.changes.push(change.to_owned());
    let before = model.provenance()?.unwrap_or_default();
    let origin = |t: &Declaration| {
        let held = before
            .tensors
            .iter()
            .find(|o| (o.layer, o.role) == (t.layer, t.role));
        held.cloned().unwrap_or_else(|| Origin {
            layer: t.layer,
            role: t.role,
            source: "fine-tuning".to_owned(),
            stored_as: "F32".to_owned(),
            rewrites: Vec::new(),
        })
    };
    let provenance = Provenance {
        converter: concat!("inkstone ", env!("CARGO_PKG_VERSION")).to_owned(),
        tensors: tensors.iter().map(origin).collect(),
        ..before.clone()
    };
    sections.push((
        SectionKind::Manifest,
        records::encode::<Manifest>(&manifest),
    ));
    sections.push((
        SectionKind::Provenance,
        records::encode::<Provenance>(&provenance),
    ));
    Ok(sections)
}

/// Lays numbers out, panel after panel.
fn panels(
    numbers: &Numbers<'_>,
    t: &Declaration,
    put: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<()> {
    let height = usize::from(t.panel_rows);
    let mut panel = Panel::new(t.format, height, numbers.columns)
        .context("a panel beyond the address space")?;
    let quantize = FORMS
        .iter()
        .find(|(name, _)| *name == numbers.form)
        .and_then(|(_, quantize)| *quantize);
    let values = (numbers.values)();
    let mut coded = CodedRow::default();
    for rows in values.chunks(height * numbers.columns) {
        panel.clear();
        for (index, row) in rows.chunks_exact(numbers.columns).enumerate() {
            match (quantize, &t.format.encoding) {
                (Some(quantize), Encoding::Blocks(..)) => {
                    coded.clear();
                    quantize(row, &mut coded);
                    panel.put_coded(index, &coded);
                }
                _ => panel.put_plain(index, bytemuck::cast_slice(row)),
            }
        }
        put(panel.bytes())?;
    }
    Ok(())
}
