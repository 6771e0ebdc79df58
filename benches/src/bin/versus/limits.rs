//! What a token costs, and what the machine does at most.

use anyhow::Result;
use inkstone_benches::process;
use inkstone_converter::Source;
use inkstone_cpu::{Isa, probe};
use inkstone_engine::Model;
use inkstone_model::weights::NO_LAYER;
use serde::Serialize;
use std::path::Path;
use std::thread;

/// What the machine does at most.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Machine {
    /// Threads that did it together.
    pub(crate) threads: u32,
    /// Bytes read from memory in a second.
    pub(crate) bytes_per_second: f64,
    /// Products and additions of bytes in a second by vectors, with operands in registers.
    pub(crate) int8_per_second: Option<f64>,
}

impl Machine {
    /// Measures it, on as many processors.
    pub(crate) fn probe(threads: u32) -> Machine {
        let work = move || {
            process::pin(0, &process::processors(threads as usize));
            // Vectors' products, on processors with matrix registers too: records of other machines have the same.
            let vectors = Isa::Avx512.available().then_some(Isa::Avx512);
            let isa = vectors.unwrap_or_else(Isa::detect);
            Machine {
                threads,
                bytes_per_second: probe::read_bandwidth(threads as usize),
                int8_per_second: probe::int8_rate(isa, threads as usize),
            }
        };
        let probe = thread::spawn(work).join();
        probe.expect("a probe does not panic")
    }
}

/// What a token of a model costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Bytes of all matrices that a token is multiplied with.
    pub(crate) weights: u64,
    /// Bytes of the file.
    pub(crate) file: u64,
}

/// The cost of a token of our file.
pub(crate) fn ours(path: &Path) -> Result<Cost> {
    let model = Model::open(path)?;
    let tensors = model.file().tensors();
    let multiplied = tensors.filter(|tensor| tensor.panel_rows > 1);
    Ok(Cost {
        weights: multiplied.map(|tensor| tensor.bytes).sum(),
        file: path.metadata()?.len(),
    })
}

/// The cost of a token of the other side's file; an embedding that is only looked up costs nothing.
pub(crate) fn theirs(path: &Path) -> Result<Cost> {
    let source = Source::open(path)?;
    let untied = source.tensor("output.weight").is_some();
    let tensors = source.tensors().iter();
    let multiplied = tensors
        .filter(|tensor| tensor.shape.len() > 1)
        .filter(|tensor| !(untied && tensor.name == "token_embd.weight"));
    Ok(Cost {
        weights: multiplied.map(|tensor| tensor.bytes()).sum(),
        file: path.metadata()?.len(),
    })
}

/// What a token costs whatever the file's format.
#[derive(Clone, Debug)]
pub(crate) struct Demand {
    /// Products and additions of a prompt's token with all layers' matrices.
    pub(crate) operations: u64,
    /// For each layer, bytes of a position's keys and values, and the window.
    layers: Vec<(u64, Option<u32>)>,
}

/// The demand of a model, keys and values in f16.
pub(crate) fn demand(path: &Path) -> Result<Demand> {
    let model = Model::open(path)?;
    let tensors = model.file().tensors();
    let products = tensors
        .filter(|tensor| tensor.panel_rows > 1 && tensor.layer != NO_LAYER)
        .map(|tensor| 2 * u64::from(tensor.rows) * u64::from(tensor.inputs));
    let layers = model.layers().iter().map(|layer| {
        let numbers = 2 * u64::from(layer.kv_heads) * u64::from(layer.head_width);
        (2 * numbers, layer.window)
    });
    Ok(Demand {
        operations: products.sum(),
        layers: layers.collect(),
    })
}

impl Demand {
    /// Bytes of keys and values that a token at this position looks at.
    pub(crate) fn kv_bytes(&self, position: u32) -> u64 {
        let seen = |window: &Option<u32>| u64::from(window.map_or(position, |w| w.min(position)));
        let layers = self.layers.iter();
        layers.map(|(bytes, window)| bytes * seen(window)).sum()
    }
}
