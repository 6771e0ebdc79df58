//! Checkpoints: what is learnt, the optimiser's means and the progress, in one safetensors file that is replaced whole.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::optimizer::State;
use crate::weight::Tensor;

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps made.
    pub step: usize,
    /// Best loss of what is held out.
    pub best: Option<f32>,
    /// Looks since then.
    pub worse: usize,
}

/// The files' sets of tensors: weights, the best weights, and the optimiser's means.
const SETS: [&str; 4] = ["weights", "best", "mean", "square"];

/// Writes a checkpoint: weights as they are and at their best, which may be empty.
///
/// # Errors
/// The file system's answer.
pub fn save(
    path: &Path,
    made_of: &str,
    progress: &Progress,
    [weights, best]: [&[Tensor]; 2],
    state: &State,
) -> Result<()> {
    let sets: [Vec<&[f32]>; 4] = [
        weights.iter().map(|t| t.values.as_slice()).collect(),
        best.iter().map(|t| t.values.as_slice()).collect(),
        state.mean.iter().map(Vec::as_slice).collect(),
        state.square.iter().map(Vec::as_slice).collect(),
    ];
    let mut views = Vec::new();
    for (set, tensors) in SETS.iter().zip(&sets) {
        for (tensor, values) in weights.iter().zip(tensors) {
            let shape = vec![tensor.rows, tensor.columns];
            let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(values))?;
            views.push((format!("{set}/{}", tensor.name), view));
        }
    }
    let about = HashMap::from([
        ("made_of".to_owned(), made_of.to_owned()),
        ("progress".to_owned(), serde_json::to_string(progress)?),
    ]);
    let temporary = path.with_extension(format!("{}.partial", std::process::id()));
    let at = || path.display().to_string();
    safetensors::serialize_to_file(views, Some(about), &temporary).with_context(at)?;
    fs::File::open(&temporary)
        .and_then(|file| file.sync_all())
        .with_context(at)?;
    fs::rename(&temporary, path).with_context(at)
}

/// Reads a checkpoint of a run that is made of the same into `weights` and `state`; gives the progress and the best weights.
///
/// # Errors
/// The file is not there, of another run, or damaged.
pub fn load(
    path: &Path,
    made_of: &str,
    weights: &mut [Tensor],
    state: &mut State,
) -> Result<(Progress, Vec<Tensor>)> {
    let at = || path.display().to_string();
    let bytes = fs::read(path).with_context(at)?;
    let (_, header) = SafeTensors::read_metadata(&bytes).with_context(at)?;
    let about = header.metadata().clone().unwrap_or_default();
    ensure!(
        about.get("made_of").is_some_and(|held| held == made_of),
        "{}: was made by another recipe, or of another model or other examples; give the run another output folder, or what it had",
        at()
    );
    let progress: Progress =
        serde_json::from_str(about.get("progress").map_or("", String::as_str)).with_context(at)?;
    let file = SafeTensors::deserialize(&bytes).with_context(at)?;
    let read = |set: &str, tensor: &Tensor| -> Result<Vec<f32>> {
        let name = format!("{set}/{}", tensor.name);
        let view = file.tensor(&name).with_context(at)?;
        let values: Vec<f32> = view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        ensure!(
            view.dtype() == Dtype::F32 && values.len() == tensor.values.len(),
            "{}: {name} has another shape",
            at()
        );
        Ok(values)
    };
    let mut best = Vec::new();
    if progress.best.is_some() {
        for tensor in &*weights {
            let values = read("best", tensor)?;
            best.push(Tensor {
                values,
                ..tensor.clone()
            });
        }
    }
    let moments = state.mean.iter_mut().zip(&mut state.square);
    for (tensor, (mean, square)) in weights.iter_mut().zip(moments) {
        *mean = read("mean", tensor)?;
        *square = read("square", tensor)?;
        tensor.values = read("weights", tensor)?;
    }
    state.steps = progress.step;
    Ok((progress, best))
}
