//! The hyperparameters of a checkpoint, whichever way it spells them.

mod facts;

use crate::arch::{self, Arch, Pairing, Windows};
use crate::error::{Result, malformed, missing, over_limit, unsupported};
use crate::gguf::Header;
use crate::llama2c;
use facts::Facts;

/// No size of a real model is larger.
const SIZE_MAX: u64 = 1 << 24;
const LAYERS_MAX: u64 = 1024;
const HEADS_MAX: u64 = 1024;

/// What a checkpoint says of the shape of its model, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The row of the table it belongs to.
    pub arch: &'static Arch,
    /// Which rows of query and key the checkpoint turns together.
    pub pairing: Pairing,
    /// What is still to be added to gains.
    pub gain_offset: Option<f32>,
    /// Layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub width: u64,
    /// Width between the two halves of a feed-forward block.
    pub ffn_width: u64,
    /// Heads of queries, a multiple of `kv_heads`.
    pub heads: u64,
    /// Heads of keys and values.
    pub kv_heads: u64,
    /// Width of one head, of queries, keys and values alike.
    pub head_dim: u64,
    /// Tokens, if the checkpoint states it; the embedding's rows decide.
    pub vocab: Option<u64>,
    /// The longest sequence it was made for.
    pub context: u64,
    /// What keeps norms from dividing by zero.
    pub norm_eps: f32,
    /// The rotary embedding.
    pub rope: Rope,
    /// The window of windowed layers, in positions.
    pub window: Option<u64>,
    /// Whether each layer is windowed; all false without a window.
    pub windowed: Vec<bool>,
    /// What embeddings are multiplied by, if anything.
    pub embedding_scale: Option<f32>,
    /// What scores are multiplied by.
    pub score_scale: f32,
    /// `c` of `c · tanh(x / c)` over scores.
    pub score_cap: Option<f32>,
    /// `c` of `c · tanh(x / c)` over logits.
    pub logit_cap: Option<f32>,
    /// Whether the output shares the embedding's matrix, where the checkpoint says so.
    pub tied: Option<bool>,
}

/// The rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// Elements of a head that are turned, from the first; even.
    pub dims: u64,
    /// Base of the frequencies.
    pub base: f32,
    /// Base of the frequencies of windowed layers.
    pub local_base: f32,
    /// How the frequencies of layers without a window are stretched; windowed layers keep theirs
    /// where they have a base of their own.
    pub scaling: Scaling,
    /// Whether `scaling` holds for windowed layers too.
    pub scales_local: bool,
}

/// How rotary frequencies are stretched for long contexts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// Every frequency is divided by a factor.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Low frequencies are divided, high ones kept, those between blended (Llama 3.1).
    Llama3 {
        /// The divisor of low frequencies.
        factor: f32,
        /// Wavelengths over `original / low` are low.
        low: f32,
        /// Wavelengths under `original / high` are high.
        high: f32,
        /// Context of the first training.
        original: f32,
    },
}

impl Config {
    /// From the metadata of a GGUF file.
    ///
    /// # Errors
    /// The architecture is unknown, or a number is absent, absurd or contradicts another.
    pub fn from_gguf(header: &Header) -> Result<Self> {
        let id = header
            .get("general.architecture")
            .and_then(|value| value.as_str())
            .ok_or_else(|| missing("no general.architecture"))?;
        let arch = arch::by_gguf_id(id)
            .ok_or_else(|| unsupported(format!("architecture {id} is not converted")))?;
        let mut config = Self::from_facts(arch, &Facts::Gguf { header, prefix: id })?;
        config.pairing = arch.gguf_pairing;
        config.gain_offset = None;
        Ok(config)
    }

    /// From a `config.json`.
    ///
    /// # Errors
    /// The architecture is unknown, or a number is absent, absurd or contradicts another.
    pub fn from_hf(json: &serde_json::Value) -> Result<Self> {
        let id = json
            .get("model_type")
            .and_then(|value| value.as_str())
            .ok_or_else(|| missing("no model_type"))?;
        let arch = arch::by_hf_id(id)
            .ok_or_else(|| unsupported(format!("architecture {id} is not converted")))?;
        let text = json.get("text_config").unwrap_or(json);
        let object = text
            .as_object()
            .ok_or_else(|| malformed("the configuration is no object"))?;
        let facts = Facts::Hf {
            object,
            outer: json,
        };
        facts.check_activation(arch.activation)?;
        Self::from_facts(arch, &facts)
    }

    /// From the header of a llama2.c checkpoint, whose program fixes the rest.
    ///
    /// # Errors
    /// A number is absurd.
    pub fn from_llama2c(header: &llama2c::Header) -> Result<Self> {
        let arch = arch::by_gguf_id("llama").expect("the table has a llama row");
        Self {
            arch,
            pairing: Pairing::Neighbours,
            gain_offset: None,
            layers: header.layers,
            width: header.width,
            ffn_width: header.ffn_width,
            heads: header.heads,
            kv_heads: header.kv_heads,
            head_dim: header.head_dim(),
            vocab: Some(header.vocab),
            context: header.context,
            norm_eps: 1e-5,
            rope: Rope::plain(header.head_dim(), arch.rope_base),
            window: None,
            windowed: Vec::new(),
            embedding_scale: None,
            score_scale: inverse_root(header.head_dim() as f32),
            score_cap: None,
            logit_cap: None,
            tied: Some(header.tied),
        }
        .checked(Windows::All)
    }

    fn from_facts(arch: &'static Arch, facts: &Facts<'_>) -> Result<Self> {
        let width = facts.needed(&facts::WIDTH)?;
        let layers = facts.needed(&facts::LAYERS)?;
        let defaults = &arch.hf_defaults;
        let heads = facts.needed_or(&facts::HEADS, defaults.heads)?;
        if heads == 0 || heads > HEADS_MAX {
            return Err(over_limit(format!("{heads} heads")));
        }
        let head_dim = match facts.count(&facts::HEAD_DIM)? {
            Some(dim) => dim,
            None => facts
                .hf_default(arch.hf_defaults.head_dim)
                .unwrap_or(width / heads),
        };
        if facts
            .count(&facts::VALUE_DIM)?
            .is_some_and(|dim| dim != head_dim)
        {
            return Err(unsupported("values are not as wide as keys"));
        }
        let (window, windows) = facts.windows(arch, layers)?;
        let config = Self {
            arch,
            pairing: Pairing::Halves,
            gain_offset: arch.hf_gain_offset,
            layers,
            width,
            ffn_width: facts.needed(&facts::FFN_WIDTH)?,
            heads,
            kv_heads: facts.needed_or(&facts::KV_HEADS, defaults.kv_heads.or(Some(heads)))?,
            head_dim,
            vocab: facts.count(&facts::VOCAB)?,
            context: facts.needed_or(&facts::CONTEXT, Some(defaults.context))?,
            norm_eps: facts.real(&facts::NORM_EPS)?.unwrap_or(1e-6),
            rope: facts.rope(arch, head_dim)?,
            window,
            windowed: Vec::new(),
            embedding_scale: arch.scales_embedding.then(|| (width as f32).sqrt()),
            score_scale: facts.score_scale(arch, layers, width / heads, head_dim)?,
            score_cap: facts.real(&facts::SCORE_CAP)?,
            logit_cap: facts.real(&facts::LOGIT_CAP)?,
            tied: facts.tied(arch)?,
        };
        match windows {
            facts::Layout::Rule(rule) => config.checked(rule),
            facts::Layout::Each(windowed) => {
                let mut config = config.checked(Windows::All)?;
                if windowed.len() as u64 != config.layers {
                    return Err(malformed("as many layer types as layers were expected"));
                }
                config.windowed = windowed;
                Ok(config)
            }
        }
    }

    /// Refuses absurd numbers, then lays out the windows.
    fn checked(mut self, windows: Windows) -> Result<Self> {
        let sizes = [
            ("layers", self.layers, LAYERS_MAX),
            ("a width", self.width, SIZE_MAX),
            ("a feed-forward width", self.ffn_width, SIZE_MAX),
            ("heads", self.heads, HEADS_MAX),
            ("heads of keys", self.kv_heads, HEADS_MAX),
            ("a head width", self.head_dim, 1 << 14),
            ("a vocabulary", self.vocab.unwrap_or(1), SIZE_MAX),
            ("a context", self.context, 1 << 31),
            ("a window", self.window.unwrap_or(1), 1 << 31),
        ];
        for (name, size, max) in sizes {
            if size == 0 || size > max {
                return Err(over_limit(format!(
                    "{name} of {size}; 1 to {max} is possible"
                )));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let (heads, kv_heads) = (self.heads, self.kv_heads);
            return Err(malformed(format!(
                "{heads} heads share {kv_heads} heads of keys"
            )));
        }
        let dims = self.rope.dims;
        if dims == 0 || dims > self.head_dim || !dims.is_multiple_of(2) {
            let head = self.head_dim;
            return Err(malformed(format!("{dims} elements of {head} turn")));
        }
        self.check_reals()?;
        self.windowed = (0..self.layers)
            .map(|layer| self.window.is_some() && windows.hold(layer))
            .collect();
        Ok(self)
    }

    fn check_reals(&self) -> Result<()> {
        let positive = [
            ("norm epsilon", Some(self.norm_eps)),
            ("rope base", Some(self.rope.base)),
            ("local rope base", Some(self.rope.local_base)),
            ("score scale", Some(self.score_scale)),
            ("score cap", self.score_cap),
            ("logit cap", self.logit_cap),
        ];
        for (name, value) in positive {
            if value.is_some_and(|v| !v.is_finite() || v <= 0.0) {
                return Err(malformed(format!("the {name} is {value:?}")));
            }
        }
        self.rope.scaling.check()
    }
}

impl Rope {
    fn plain(dims: u64, base: f32) -> Self {
        Self {
            dims,
            base,
            local_base: base,
            scaling: Scaling::None,
            scales_local: true,
        }
    }
}

impl Scaling {
    fn check(&self) -> Result<()> {
        let sound = match *self {
            Self::None => true,
            Self::Linear { factor } => factor >= 1.0 && factor.is_finite(),
            Self::Llama3 {
                factor,
                low,
                high,
                original,
            } => {
                let finite = [factor, low, high, original].iter().all(|v| v.is_finite());
                finite && factor >= 1.0 && low > 0.0 && high > low && original > 0.0
            }
        };
        if sound {
            Ok(())
        } else {
            Err(malformed(format!("the rope scaling is {self:?}")))
        }
    }
}

impl Windows {
    fn hold(self, layer: u64) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(n) => n == 0 || !(layer + 1).is_multiple_of(n),
        }
    }
}

fn inverse_root(x: f32) -> f32 {
    1.0 / x.sqrt()
}

#[cfg(test)]
mod tests;
