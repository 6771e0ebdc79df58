//! What tensors cannot tell: counts, scales, windows, caps. Stored as the `Spec` section of a file.
//!
//! The section is a record of 48 bytes for the model and one of 40 bytes for each layer, little-endian:
//!
//! | offset | model | type | | offset | layer | type |
//! |--:|---|---|---|--:|---|---|
//! | 0 | record size (48) | u32 | | 0 | heads | u32 |
//! | 4 | layer record size (40) | u32 | | 4 | kv heads | u32 |
//! | 8 | vocabulary | u32 | | 8 | head width | u32 |
//! | 12 | width | u32 | | 12 | feed-forward width | u32 |
//! | 16 | layers | u32 | | 16 | window, 0 = none | u32 |
//! | 20 | context | u32 | | 20 | rope table | u32 |
//! | 24 | norm epsilon | f32 | | 24 | score scale | f32 |
//! | 28 | embedding scale | f32 | | 28 | score cap, 0 = none | f32 |
//! | 32 | logit scale | f32 | | 32 | zero | u64 |
//! | 36 | logit cap, 0 = none | f32 | | | | |
//! | 40 | activation: 0 SiLU, 1 GELU (tanh) | u32 | | | | |
//! | 44 | zero | u32 | | | | |

/// What holds for the whole model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spec {
    /// Tokens, without padding.
    pub vocabulary: u32,
    /// Elements of the residual stream.
    pub width: u32,
    /// Layers.
    pub layers: u32,
    /// Positions the model was trained for.
    pub context: u32,
    /// Epsilon of every norm.
    pub eps: f32,
    /// Factor on looked-up embeddings.
    pub embedding_scale: f32,
    /// Factor on logits, before the cap.
    pub logit_scale: f32,
    /// `cap · tanh(logit / cap)`.
    pub logit_cap: Option<f32>,
    /// The gate's non-linearity.
    pub activation: Activation,
}

/// What may differ from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerSpec {
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; a divisor of `heads`.
    pub kv_heads: u32,
    /// Elements of a head, even.
    pub head_width: u32,
    /// Elements of the feed-forward's hidden vector.
    pub ffn_width: u32,
    /// Positions visible, the current one included; `None` for all.
    pub window: Option<u32>,
    /// Which table of inverse frequencies rotates this layer (0 or 1).
    pub rope: u32,
    /// Factor on scores.
    pub score_scale: f32,
    /// `cap · tanh(score / cap)`.
    pub score_cap: Option<f32>,
}

/// The gate's non-linearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// [`inkstone_quant::math::silu`].
    Silu,
    /// [`inkstone_quant::math::gelu_tanh`].
    GeluTanh,
}

/// Why a `Spec` section is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpecError {
    /// What is wrong.
    pub field: &'static str,
    /// Byte offset within the section.
    pub offset: usize,
}

impl core::fmt::Display for SpecError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "spec section: {} out of range at byte {}",
            self.field, self.offset
        )
    }
}

impl core::error::Error for SpecError {}

/// Bytes of the model's record.
pub const SPEC_BYTES: usize = 48;
/// Bytes of a layer's record.
pub const LAYER_BYTES: usize = 40;

const MAX_LAYERS: u32 = 1024;
const MAX_WIDTH: u32 = 1 << 17;
const MAX_VOCABULARY: u32 = 1 << 24;
const MAX_CONTEXT: u32 = 1 << 26;
/// Largest head, in elements.
pub const MAX_HEAD_WIDTH: u32 = 512;

impl Spec {
    /// Reads the model's record.
    ///
    /// # Errors
    /// A field that is missing or out of range.
    pub fn parse(section: &[u8]) -> Result<Spec, SpecError> {
        let r = Record {
            bytes: section,
            base: 0,
        };
        r.equal("record size", 0, SPEC_BYTES as u32)?;
        r.equal("layer record size", 4, LAYER_BYTES as u32)?;
        let spec = Spec {
            vocabulary: r.count("vocabulary", 8, MAX_VOCABULARY)?,
            width: r.count("width", 12, MAX_WIDTH)?,
            layers: r.count("layers", 16, MAX_LAYERS)?,
            context: r.count("context", 20, MAX_CONTEXT)?,
            eps: r.finite("norm epsilon", 24)?,
            embedding_scale: r.finite("embedding scale", 28)?,
            logit_scale: r.finite("logit scale", 32)?,
            logit_cap: r.cap("logit cap", 36)?,
            activation: match r.u32("activation", 40)? {
                0 => Activation::Silu,
                1 => Activation::GeluTanh,
                _ => return Err(r.error("activation", 40)),
            },
        };
        r.equal("reserved field", 44, 0)?;
        if section.len() != SPEC_BYTES + spec.layers as usize * LAYER_BYTES {
            return Err(r.error("length", section.len()));
        }
        Ok(spec)
    }

    /// Writes the model's record.
    pub fn to_bytes(&self) -> [u8; SPEC_BYTES] {
        let mut out = [0; SPEC_BYTES];
        let activation = match self.activation {
            Activation::Silu => 0,
            Activation::GeluTanh => 1,
        };
        let words = [
            SPEC_BYTES as u32,
            LAYER_BYTES as u32,
            self.vocabulary,
            self.width,
            self.layers,
            self.context,
            self.eps.to_bits(),
            self.embedding_scale.to_bits(),
            self.logit_scale.to_bits(),
            self.logit_cap.unwrap_or(0.0).to_bits(),
            activation,
        ];
        put(&mut out, &words);
        out
    }
}

impl LayerSpec {
    /// Reads the record of `layer`.
    ///
    /// # Errors
    /// A field that is missing or out of range.
    pub fn parse(section: &[u8], layer: u32) -> Result<LayerSpec, SpecError> {
        let r = Record {
            bytes: section,
            base: SPEC_BYTES + layer as usize * LAYER_BYTES,
        };
        let spec = LayerSpec {
            heads: r.count("heads", 0, MAX_WIDTH)?,
            kv_heads: r.count("kv heads", 4, MAX_WIDTH)?,
            head_width: r.count("head width", 8, MAX_HEAD_WIDTH)?,
            ffn_width: r.count("feed-forward width", 12, MAX_WIDTH)?,
            window: match r.u32("window", 16)? {
                0 => None,
                n if n <= MAX_CONTEXT => Some(n),
                _ => return Err(r.error("window", 16)),
            },
            rope: r.u32("rope table", 20)?,
            score_scale: r.finite("score scale", 24)?,
            score_cap: r.cap("score cap", 28)?,
        };
        if spec.rope > 1 {
            return Err(r.error("rope table", 20));
        }
        if !spec.heads.is_multiple_of(spec.kv_heads) {
            return Err(r.error("kv heads", 4));
        }
        if !spec.head_width.is_multiple_of(2)
            || spec
                .heads
                .checked_mul(spec.head_width)
                .is_none_or(|w| w > MAX_WIDTH)
        {
            return Err(r.error("head width", 8));
        }
        r.equal("reserved field", 32, 0)?;
        r.equal("reserved field", 36, 0)?;
        Ok(spec)
    }

    /// Writes the record.
    pub fn to_bytes(&self) -> [u8; LAYER_BYTES] {
        let mut out = [0; LAYER_BYTES];
        let words = [
            self.heads,
            self.kv_heads,
            self.head_width,
            self.ffn_width,
            self.window.unwrap_or(0),
            self.rope,
            self.score_scale.to_bits(),
            self.score_cap.unwrap_or(0.0).to_bits(),
        ];
        put(&mut out, &words);
        out
    }
}

fn put(out: &mut [u8], words: &[u32]) {
    for (to, word) in out.chunks_mut(4).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
}

struct Record<'a> {
    bytes: &'a [u8],
    base: usize,
}

impl Record<'_> {
    fn error(&self, field: &'static str, at: usize) -> SpecError {
        SpecError {
            field,
            offset: self.base + at,
        }
    }

    fn u32(&self, field: &'static str, at: usize) -> Result<u32, SpecError> {
        let start = self.base.checked_add(at).ok_or(self.error(field, 0))?;
        let bytes = self
            .bytes
            .get(start..)
            .and_then(|b| b.first_chunk::<4>())
            .ok_or(self.error(field, at))?;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn count(&self, field: &'static str, at: usize, limit: u32) -> Result<u32, SpecError> {
        match self.u32(field, at)? {
            n if n >= 1 && n <= limit => Ok(n),
            _ => Err(self.error(field, at)),
        }
    }

    fn equal(&self, field: &'static str, at: usize, want: u32) -> Result<(), SpecError> {
        if self.u32(field, at)? == want {
            Ok(())
        } else {
            Err(self.error(field, at))
        }
    }

    fn finite(&self, field: &'static str, at: usize) -> Result<f32, SpecError> {
        let value = f32::from_bits(self.u32(field, at)?);
        if value.is_finite() {
            Ok(value)
        } else {
            Err(self.error(field, at))
        }
    }

    fn cap(&self, field: &'static str, at: usize) -> Result<Option<f32>, SpecError> {
        match self.finite(field, at)? {
            0.0 => Ok(None),
            cap if cap > 0.0 => Ok(Some(cap)),
            _ => Err(self.error(field, at)),
        }
    }
}
