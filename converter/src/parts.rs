//! The tensors of a `.ink` file, and where in a checkpoint each comes from.

use std::collections::BTreeSet;

use inkstone_format::records::{Part as Share, Pattern, Rewrite};
use inkstone_model::weights::{
    DOWN, EMBED, FFN_NORM, FFN_POST_NORM, FINAL_NORM, GATE, HEAD, K, K_BIAS, K_NORM, MIXER_NORM,
    MIXER_POST_NORM, NO_LAYER, O, O_BIAS, Q, Q_BIAS, Q_NORM, ROLES, ROPE_0, ROPE_1, UP, V, V_BIAS,
};

use crate::arch::{Pairing, Qkv};
use crate::config::Config;
use crate::error::{Result, malformed, missing, unsupported};
use crate::resolve::Resolved;
use crate::source::{Source, Tensor};

/// One tensor to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its layer, or `NO_LAYER`.
    pub layer: u16,
    /// Its role.
    pub role: u16,
    /// Rows; one for a vector.
    pub rows: u64,
    /// Inputs of a row.
    pub inputs: u64,
    /// Whether it is a gain, a bias or a table, stored as F32 in one row.
    pub vector: bool,
    /// Where its numbers come from.
    pub origin: Origin,
}

/// Where numbers come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// A tensor of the checkpoint, and what is done to it.
    Tensor {
        /// Its name.
        name: String,
        /// Applied in order.
        rewrites: Vec<Rewrite>,
    },
    /// They follow from the hyperparameters.
    Computed(Vec<f32>),
}

/// A checkpoint taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// The tensors, ascending by layer and role.
    pub parts: Vec<Part>,
    /// The spec of the model.
    pub resolved: Resolved,
    /// Whether the embedding serves as output matrix.
    pub tied: bool,
}

impl Part {
    /// The name of the role.
    #[must_use]
    pub fn role_name(&self) -> &'static str {
        let role = ROLES.iter().find(|role| role.id == self.role);
        role.expect("parts are made from roles of the table").name
    }
}

impl Parts {
    /// Finds every tensor the model needs, checks its shape, and refuses tensors that nobody needs.
    ///
    /// # Errors
    /// A tensor is missing, misshapen or unknown, or the model needs what the runtime cannot do.
    pub fn of(source: &Source) -> Result<Self> {
        let mut finder = Finder::new(source)?;
        let tied = finder.shared()?;
        for layer in 0..source.config.layers {
            finder.layer(layer)?;
        }
        let divisors = finder.divisors()?;
        let resolved = Resolved::new(&source.config, finder.vocabulary, divisors.as_deref())?;
        for (role, table) in [ROPE_0, ROPE_1].into_iter().zip(&resolved.ropes) {
            if let Some(table) = table {
                finder.parts.push(Part {
                    layer: NO_LAYER,
                    role,
                    rows: 1,
                    inputs: table.len() as u64,
                    vector: true,
                    origin: Origin::Computed(table.clone()),
                });
            }
        }
        finder.nothing_left()?;
        let mut parts = finder.parts;
        parts.sort_by_key(|part| (part.layer, part.role));
        Ok(Self {
            parts,
            resolved,
            tied,
        })
    }
}

struct Finder<'a> {
    source: &'a Source,
    config: &'a Config,
    prefix: &'static str,
    vocabulary: u64,
    used: BTreeSet<String>,
    parts: Vec<Part>,
}

/// What a part is to be: a role in a layer, with a shape.
struct Wanted {
    layer: u16,
    role: u16,
    rows: u64,
    inputs: u64,
    vector: bool,
}

impl<'a> Finder<'a> {
    fn new(source: &'a Source) -> Result<Self> {
        let names = source.names;
        let weight = |prefix: &str| format!("{prefix}{}.weight", names.embedding);
        let found = names.prefixes.iter().find_map(|prefix| {
            source
                .tensor(&weight(prefix))
                .map(|tensor| (*prefix, tensor.matrix().0))
        });
        let expected = weight(names.prefixes[0]);
        let (prefix, vocabulary) = found.ok_or_else(|| missing(format!("no tensor {expected}")))?;
        if source
            .config
            .vocab
            .is_some_and(|stated| stated != vocabulary)
        {
            let stated = source.config.vocab;
            let message = format!("{vocabulary} embeddings for a vocabulary of {stated:?}");
            return Err(malformed(message));
        }
        Ok(Self {
            source,
            config: &source.config,
            prefix,
            vocabulary,
            used: BTreeSet::new(),
            parts: Vec::new(),
        })
    }

    /// What the layers share; says whether the embedding serves as output matrix.
    fn shared(&mut self) -> Result<bool> {
        let (names, prefix) = (self.source.names, self.prefix);
        let output = format!("{}.weight", names.output);
        let stands = self.source.tensor(&output).is_some();
        let tied = self.config.tied.unwrap_or(!stands);
        if tied && stands {
            self.used.insert(output.clone());
        }
        let width = self.config.width;
        let shared = |role, rows, inputs, vector| Wanted {
            layer: NO_LAYER,
            role,
            rows,
            inputs,
            vector,
        };
        let embedding = format!("{prefix}{}.weight", names.embedding);
        let ties = tied.then(|| Rewrite::Tied {
            with: output.clone(),
        });
        let ties = ties.into_iter().collect();
        self.take(
            shared(EMBED, self.vocabulary, width, false),
            embedding,
            ties,
        )?;
        let norm = format!("{prefix}{}.weight", names.output_norm);
        self.take(shared(FINAL_NORM, 1, width, true), norm, self.gain())?;
        if !tied {
            let head = shared(HEAD, self.vocabulary, width, false);
            self.take(head, output, Vec::new())?;
        }
        Ok(tied)
    }

    fn layer(&mut self, layer: u64) -> Result<()> {
        let (names, config) = (self.source.names, self.config);
        let (width, ffn) = (config.width, config.ffn_width);
        let heads = config.heads * config.head_dim;
        self.norm(layer, MIXER_NORM, Some(names.mixer_norm), width)?;
        self.queries_keys_values(layer)?;
        self.linear(layer, [O, O_BIAS], names.o, [width, heads], &[])?;
        let [q_norm, k_norm] = match names.qk_norms {
            Some(both) => both.map(Some),
            None => [None; 2],
        };
        self.norm(layer, Q_NORM, q_norm, config.head_dim)?;
        self.norm(layer, K_NORM, k_norm, config.head_dim)?;
        self.norm(layer, MIXER_POST_NORM, names.mixer_post_norm, width)?;
        self.norm(layer, FFN_NORM, Some(names.ffn_norm), width)?;
        let shapes = [[ffn, width], [ffn, width], [width, ffn]];
        for ((role, stem), shape) in [GATE, UP, DOWN].into_iter().zip(names.ffn).zip(shapes) {
            let name = self.name(layer, stem, "weight");
            self.matrix(layer, role, name, shape, Vec::new())?;
        }
        self.norm(layer, FFN_POST_NORM, names.ffn_post_norm, width)
    }

    fn queries_keys_values(&mut self, layer: u64) -> Result<()> {
        let config = self.config;
        let heads = [config.heads, config.kv_heads, config.kv_heads];
        let roles = [[Q, Q_BIAS], [K, K_BIAS], [V, V_BIAS]];
        let shares = [Share::Queries, Share::Keys, Share::Values];
        for i in 0..3 {
            let mut rewrites = Vec::new();
            let stem = match self.source.names.qkv {
                Qkv::Apart(stems) => stems[i],
                Qkv::Grouped(stem) => {
                    rewrites.push(self.grouped(shares[i])?);
                    stem
                }
            };
            if i < 2 && config.pairing == Pairing::Neighbours {
                rewrites.push(Rewrite::PermuteRows {
                    heads: heads[i] as u32,
                    pattern: Pattern::InterleavedToHalves,
                });
            }
            let shape = [heads[i] * config.head_dim, config.width];
            self.linear(layer, roles[i], stem, shape, &rewrites)?;
        }
        Ok(())
    }

    fn grouped(&self, part: Share) -> Result<Rewrite> {
        let config = self.config;
        let small = |n: u64| u32::try_from(n).map_err(|_| malformed(format!("{n} rows")));
        Ok(Rewrite::GroupedRows {
            part,
            kv_heads: small(config.kv_heads)?,
            queries: small(config.heads / config.kv_heads)?,
            head_rows: small(config.head_dim)?,
        })
    }

    /// A matrix and, where the checkpoint has one, its bias; both are rewritten alike.
    fn linear(
        &mut self,
        layer: u64,
        [weight, bias]: [u16; 2],
        stem: &str,
        shape: [u64; 2],
        rewrites: &[Rewrite],
    ) -> Result<()> {
        let name = self.name(layer, stem, "weight");
        self.matrix(layer, weight, name, shape, rewrites.to_vec())?;
        let name = self.name(layer, stem, "bias");
        if self.source.tensor(&name).is_none() {
            return Ok(());
        }
        self.take(vector(layer, bias, shape[0]), name, rewrites.to_vec())
    }

    fn matrix(
        &mut self,
        layer: u64,
        role: u16,
        name: String,
        [rows, inputs]: [u64; 2],
        rewrites: Vec<Rewrite>,
    ) -> Result<()> {
        let wanted = Wanted {
            layer: layer as u16,
            role,
            rows,
            inputs,
            vector: false,
        };
        self.take(wanted, name, rewrites)
    }

    /// A gain, where the architecture has it.
    fn norm(&mut self, layer: u64, role: u16, stem: Option<&str>, size: u64) -> Result<()> {
        let Some(stem) = stem else { return Ok(()) };
        let name = self.name(layer, stem, "weight");
        self.take(vector(layer, role, size), name, self.gain())
    }

    fn gain(&self) -> Vec<Rewrite> {
        let offset = self.config.gain_offset.map(|_| Rewrite::AddOne);
        offset.into_iter().collect()
    }

    /// Lists a part whose tensor exists and has the shape the rewrites need.
    fn take(&mut self, wanted: Wanted, name: String, rewrites: Vec<Rewrite>) -> Result<()> {
        let tensor = self
            .source
            .tensor(&name)
            .ok_or_else(|| missing(format!("no tensor {name}")))?;
        check(tensor, &wanted, &rewrites)?;
        self.used.insert(name.clone());
        self.parts.push(Part {
            layer: wanted.layer,
            role: wanted.role,
            rows: wanted.rows,
            inputs: wanted.inputs,
            vector: wanted.vector,
            origin: Origin::Tensor { name, rewrites },
        });
        Ok(())
    }

    fn divisors(&mut self) -> Result<Option<Vec<f32>>> {
        let tensor = self
            .source
            .names
            .rope_divisors
            .and_then(|name| self.source.tensor(name));
        let Some(tensor) = tensor else {
            return Ok(None);
        };
        if tensor.bytes() > 1 << 20 {
            return Err(malformed(format!("tensor {} is too long", tensor.name)));
        }
        self.used.insert(tensor.name.clone());
        self.source.numbers(tensor).map(Some)
    }

    fn name(&self, layer: u64, stem: &str, kind: &str) -> String {
        let layer = self.source.names.layer.replace("{}", &layer.to_string());
        format!("{}{layer}{stem}.{kind}", self.prefix)
    }

    fn nothing_left(&self) -> Result<()> {
        let ignored = self.config.arch.ignored;
        let left = self.source.tensors().iter().find(|tensor| {
            !self.used.contains(&tensor.name) && !ignored.iter().any(|i| tensor.name.contains(i))
        });
        match left {
            None => Ok(()),
            Some(tensor) => Err(unsupported(format!(
                "a model of architecture {} has no place for tensor {}",
                self.config.arch.name, tensor.name
            ))),
        }
    }
}

fn vector(layer: u64, role: u16, size: u64) -> Wanted {
    Wanted {
        layer: layer as u16,
        role,
        rows: 1,
        inputs: size,
        vector: true,
    }
}

fn check(tensor: &Tensor, wanted: &Wanted, rewrites: &[Rewrite]) -> Result<()> {
    // Rewrites reorder rows, and the elements of a vector are its rows.
    let (mut rows, inputs) = if wanted.vector {
        (wanted.inputs, 1)
    } else {
        (wanted.rows, wanted.inputs)
    };
    for rewrite in rewrites {
        if let Rewrite::GroupedRows {
            kv_heads,
            queries,
            head_rows,
            ..
        } = rewrite
        {
            rows = u64::from(*kv_heads) * (u64::from(*queries) + 2) * u64::from(*head_rows);
        }
    }
    let fits = match tensor.shape[..] {
        [size] if wanted.vector => size == rows,
        [r, i] => (r, i) == (rows, inputs),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let (name, shape) = (&tensor.name, &tensor.shape);
    let wanted = if wanted.vector {
        vec![rows]
    } else {
        vec![rows, inputs]
    };
    Err(malformed(format!(
        "tensor {name} has the shape {shape:?}, wanted {wanted:?}"
    )))
}
