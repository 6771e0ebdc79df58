//! From a model and a configuration to all memory and the list of operations, before anything is reserved.

use inkstone_quant::activation::groups;

use crate::cache::{Cache, Kv, TILE};
use crate::model::Model;
use crate::op::*;
use crate::spec::{LayerSpec, Spec};
use crate::weights::{self, Layer, Matrix, Weights};

/// What a session is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Positions a sequence can hold.
    pub context: u32,
    /// Sequences side by side, each with caches of its own.
    pub sequences: u32,
    /// Tokens a backend takes at once.
    pub batch: u32,
    /// Rows of logits kept: 1, or up to `batch` to read them all. With 0 there are none: what the final norm gives of
    /// every token is kept as numbers instead, for embeddings.
    pub logits: u32,
    /// Workers, each with scratch of its own.
    pub threads: u32,
    /// Positions a session can always go back, past a window too.
    pub rewind: u32,
    /// Stored form of keys and values.
    pub kv: Kv,
    /// What integer formats are multiplied with.
    pub activations: Activations,
    /// Whether weights are read as they are used, and each worker needs room for them.
    pub streamed: bool,
}

/// What integer formats are multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activations {
    /// int8 groups of 32: the definition of the product.
    #[default]
    Int8,
    /// The numbers themselves, against decoded weights: the yardstick.
    F32,
}

/// A buffer of the arena: `rows × width` numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Slot {
    /// The residual stream.
    Residual,
    /// What a norm gave.
    Normed,
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// What attention gave.
    Mixed,
    /// A branch that is normalised before it is added.
    Branch,
    /// The gated hidden vector.
    Hidden,
    /// What the thin matrices of up to three adapters make of an input.
    Thin0,
    /// See [`Slot::Thin0`].
    Thin1,
    /// See [`Slot::Thin0`].
    Thin2,
    /// What adapters add to the products of up to three matrices.
    Plus0,
    /// See [`Slot::Plus0`].
    Plus1,
    /// See [`Slot::Plus0`].
    Plus2,
    /// What each tile of positions gives the heads of one token, a row a tile, where workers share tiles.
    Parts,
    /// The largest score and the sum of each head for each row of [`Slot::Parts`].
    PartSums,
    /// Logits.
    Logits,
}

/// How many slots there are.
pub const SLOTS: usize = 17;

/// Slots of adapters, by the place of their matrix among those that share an input.
const THIN: [Slot; 3] = [Slot::Thin0, Slot::Thin1, Slot::Thin2];
const PLUS: [Slot; 3] = [Slot::Plus0, Slot::Plus1, Slot::Plus2];

/// Where a slot stands in the arena; offsets in bytes, multiples of 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotPlace {
    /// Elements of a row.
    pub width: usize,
    /// Rows.
    pub rows: usize,
    /// Whether the numbers are kept: where nothing reads them, only their int8 form is.
    pub plain: bool,
    /// `rows × width` f32.
    pub values: usize,
    /// Whether the int8 form is kept: `codes`, `scales`, `sums` as [`inkstone_quant::ActRow`] has them.
    pub rounded: bool,
    /// `rows × 32·groups` i8.
    pub codes: usize,
    /// `rows × groups` f32.
    pub scales: usize,
    /// `rows × 2·groups` i32.
    pub sums: usize,
}

/// Bytes by purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Activations of a batch.
    pub slots: usize,
    /// Logits.
    pub logits: usize,
    /// Scratch of all workers.
    pub scratch: usize,
    /// Keys and values.
    pub kv: usize,
    /// The whole arena: the sum of the above.
    pub arena: usize,
}

/// Everything a session needs to know before it exists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// What it is made for.
    pub config: Config,
    /// The model's numbers.
    pub spec: Spec,
    /// Places, by [`Slot`].
    pub slots: [SlotPlace; SLOTS],
    /// Scratch of worker 0; the others' follow.
    pub scratch: usize,
    /// Scratch bytes of each worker.
    pub scratch_each: usize,
    /// First byte of the caches.
    pub kv: usize,
    /// Bytes by purpose.
    pub memory: Memory,
    /// Whether a cache is a ring shorter than the context, so that [`Config::rewind`] bounds going back.
    pub ring: bool,
}

/// Why a plan cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// A count of the configuration is zero or beyond what is sensible.
    Config {
        /// Which one.
        what: &'static str,
        /// What it was.
        value: u32,
        /// The greatest it may be; the least is 1.
        high: u32,
    },
    /// The memory would exceed the address space.
    TooLarge,
}

impl core::fmt::Display for PlanError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            PlanError::Config { what, value, high } => {
                write!(f, "{what} is {value}, it must be from 1 to {high}")
            }
            PlanError::TooLarge => write!(
                f,
                "the session would need more memory than there are addresses"
            ),
        }
    }
}

impl core::error::Error for PlanError {}

impl Plan {
    /// Reckons all memory.
    ///
    /// # Errors
    /// A count that is out of range, or sizes beyond the address space.
    pub fn new(model: &Model<'_>, config: Config) -> Result<Plan, PlanError> {
        let in_range = |what, value: u32, high: u32| {
            if value >= 1 && value <= high {
                Ok(())
            } else {
                Err(PlanError::Config { what, value, high })
            }
        };
        in_range("context", config.context, 1 << 26)?;
        in_range("sequences", config.sequences, 1 << 16)?;
        in_range("batch", config.batch, 1 << 16)?;
        in_range("logits", config.logits.max(1), config.batch)?;
        in_range("threads", config.threads, 1024)?;
        in_range("rewind", config.rewind.max(1), 1 << 26)?;
        Self::lay_out(model, config).ok_or(PlanError::TooLarge)
    }

    fn lay_out(model: &Model<'_>, config: Config) -> Option<Plan> {
        let spec = model.spec();
        let needs = Needs::of(model, config);
        let mut slots = [SlotPlace::default(); SLOTS];
        let mut end = 0_usize;
        // Logits come last, so that what is before them is the activations' share.
        const { assert!(Slot::Logits as usize + 1 == SLOTS) };
        const PARTS: [usize; 2] = [Slot::Parts as usize, Slot::PartSums as usize];
        for (slot, place) in slots.iter_mut().enumerate() {
            let rows = match slot {
                _ if slot == Slot::Logits as usize => config.logits,
                _ if PARTS.contains(&slot) => shared_tiles(&config),
                _ => config.batch,
            };
            let forms = (needs.plain[slot], needs.rounded[slot]);
            *place = SlotPlace::at(&mut end, rows as usize, needs.width[slot], forms)?;
        }
        let logits = end - slots[Slot::Logits as usize].values;
        let scratch = end;
        // A panel pair's decoded scales and minima, or a worker's share of attention.
        let scratch_each = needs
            .inputs
            .checked_mul(32)?
            .max(64 * 1024 + 1024 * needs.head_width)
            .checked_add(if config.streamed { 4 * needs.panel } else { 0 })?
            .next_multiple_of(64);
        end = end.checked_add(scratch_each.checked_mul(config.threads as usize)?)?;
        let kv = end;
        let mut ring = false;
        for layer in 0..spec.layers {
            let cache = cache(&config, &model.layer_spec(layer), end)?;
            ring |= cache.positions < config.context as usize;
            end = cache.after(config.sequences)?;
        }
        let memory = Memory {
            slots: scratch - logits,
            logits,
            scratch: kv - scratch,
            kv: end - kv,
            arena: end,
        };
        Some(Plan {
            config,
            spec,
            slots,
            scratch,
            scratch_each,
            kv,
            memory,
            ring,
        })
    }

    /// The place of a slot.
    pub fn slot(&self, slot: Slot) -> SlotPlace {
        self.slots[slot as usize]
    }

    /// The operations, in order. Reads the model's tables again at each call.
    pub fn ops<'a>(&self, model: &'a Model<'a>) -> impl Iterator<Item = Op> + 'a {
        let (spec, shared, config) = (self.spec, model.weights(), self.config);
        let mut end = self.kv;
        let layers = (0..spec.layers).flat_map(move |index| {
            let layer_spec = model.layer_spec(index);
            let cache =
                cache(&config, &layer_spec, end).expect("`Plan::new` has laid the same caches out");
            end = cache.of(config.sequences).k;
            let build = LayerOps {
                spec,
                shared,
                layer_spec,
                layer: model.layer(index),
                cache,
            };
            build
                .attention()
                .into_iter()
                .chain(build.feed_forward())
                .flatten()
        });
        let embed = Op::Embed(Embed {
            table: shared.embed,
            scale: spec.embedding_scale,
            to: Slot::Residual,
        });
        core::iter::once(embed).chain(layers).chain(
            finish(&spec, &shared, config.logits > 0)
                .into_iter()
                .flatten(),
        )
    }
}

/// Tiles that workers may share, those that the first and the last position stand in the middle of among them.
fn shared_tiles(config: &Config) -> u32 {
    if config.threads > 1 {
        config.context / TILE as u32 + 2
    } else {
        0
    }
}

/// The final norm and the logits, over the wanted rows; or the norm alone, of every token.
fn finish(spec: &Spec, shared: &Weights<Matrix>, logits: bool) -> [Option<Op>; 2] {
    let (from, gain, to) = (Slot::Residual, shared.final_norm, Slot::Normed);
    let head = Part {
        weight: shared.head.unwrap_or(shared.embed),
        bias: None,
        plus: None,
        to: Slot::Logits,
    };
    let epilogue = Epilogue::Logits {
        scale: spec.logit_scale,
        cap: spec.logit_cap,
    };
    let norm = Norm {
        from,
        gain,
        eps: spec.eps,
        to,
        then: Then::Store,
        rows: if logits { Rows::Wanted } else { Rows::All },
    };
    let head = Linear {
        from: to,
        parts: [Some(head), None, None],
        epilogue,
        rows: Rows::Packed,
    };
    [Some(Op::Norm(norm)), logits.then_some(Op::Linear(head))]
}

struct LayerOps {
    spec: Spec,
    shared: Weights<Matrix>,
    layer_spec: LayerSpec,
    layer: Layer<Matrix>,
    cache: Cache,
}

impl LayerOps {
    fn attention(&self) -> [Option<Op>; 12] {
        let (a, s) = (&self.layer.attention, &self.layer_spec);
        let from = Slot::Normed;
        let parts = [
            part(&a.q, 0, Slot::Q),
            part(&a.k, 1, Slot::K),
            part(&a.v, 2, Slot::V),
        ];
        let [thin, lift_q, lift_k, lift_v] = adapters(from, [Some(&a.q), Some(&a.k), Some(&a.v)]);
        let heads = s.heads as usize;
        let rope = Rope {
            q: Slot::Q,
            k: Slot::K,
            v: Slot::V,
            heads,
            q_norm: a.q_norm,
            k_norm: a.k_norm,
            eps: self.spec.eps,
            table: self.shared.rope[s.rope as usize]
                .expect("`Model::new` wants a table for every layer"),
            cache: self.cache,
        };
        let attend = Attend {
            q: Slot::Q,
            to: Slot::Mixed,
            heads,
            cache: self.cache,
            scale: s.score_scale,
            cap: s.score_cap,
            window: s.window.map(|w| w as usize),
        };
        let [thin_o, lift_o, join, post] = self.join(Slot::Mixed, &a.o, self.layer.mixer_post_norm);
        let qkv = Linear {
            from,
            parts: parts.map(Some),
            epilogue: Epilogue::Store,
            rows: Rows::All,
        };
        [
            Some(self.norm(self.layer.mixer_norm)),
            thin,
            lift_q,
            lift_k,
            lift_v,
            Some(Op::Linear(qkv)),
            Some(Op::Rope(rope)),
            Some(Op::Attend(attend)),
            thin_o,
            lift_o,
            join,
            post,
        ]
    }

    fn feed_forward(&self) -> [Option<Op>; 9] {
        let f = &self.layer.ffn;
        let from = Slot::Normed;
        let [thin, lift_gate, lift_up, _] = adapters(from, [Some(&f.gate), Some(&f.up), None]);
        let parts = [part(&f.gate, 0, Slot::Hidden), part(&f.up, 1, Slot::Hidden)];
        let gated = Linear {
            from,
            parts: [Some(parts[0]), Some(parts[1]), None],
            epilogue: Epilogue::Gate(self.spec.activation),
            rows: Rows::All,
        };
        let [thin_down, lift_down, join, post] =
            self.join(Slot::Hidden, &f.down, self.layer.ffn_post_norm);
        [
            Some(self.norm(self.layer.ffn_norm)),
            thin,
            lift_gate,
            lift_up,
            Some(Op::Linear(gated)),
            thin_down,
            lift_down,
            join,
            post,
        ]
    }

    fn norm(&self, gain: Matrix) -> Op {
        let (from, to, eps) = (Slot::Residual, Slot::Normed, self.spec.eps);
        Op::Norm(Norm {
            from,
            gain,
            eps,
            to,
            then: Then::Store,
            rows: Rows::All,
        })
    }

    /// A branch's last matrix, added to the residual: at once, or through a norm of its own.
    fn join(
        &self,
        from: Slot,
        linear: &weights::Linear<Matrix>,
        post: Option<Matrix>,
    ) -> [Option<Op>; 4] {
        let (to, epilogue) = match post {
            Some(_) => (Slot::Branch, Epilogue::Store),
            None => (Slot::Residual, Epilogue::Add),
        };
        let [thin, lift, ..] = adapters(from, [Some(linear), None, None]);
        let join = Linear {
            from,
            parts: [Some(part(linear, 0, to)), None, None],
            epilogue,
            rows: Rows::All,
        };
        let norm = |gain| {
            let (from, to, eps) = (Slot::Branch, Slot::Residual, self.spec.eps);
            Op::Norm(Norm {
                from,
                gain,
                eps,
                to,
                then: Then::Add,
                rows: Rows::All,
            })
        };
        [thin, lift, Some(Op::Linear(join)), post.map(norm)]
    }
}

/// A matrix whose products go to `to`; it stands at `place` among those that share an input.
#[inline(never)]
fn part(linear: &weights::Linear<Matrix>, place: usize, to: Slot) -> Part {
    Part {
        weight: linear.weight,
        bias: linear.bias,
        plus: linear.adapter.map(|_| PLUS[place]),
        to,
    }
}

/// What the adapters of matrices over one input do before them: the thin matrices together, then each is lifted.
#[inline(never)]
fn adapters(from: Slot, linears: [Option<&weights::Linear<Matrix>>; 3]) -> [Option<Op>; 4] {
    let adapters = linears.map(|linear| linear.and_then(|linear| linear.adapter));
    let plain = |from, parts| {
        Op::Linear(Linear {
            from,
            parts,
            epilogue: Epilogue::Store,
            rows: Rows::All,
        })
    };
    let to = |weight, to| Part {
        weight,
        bias: None,
        plus: None,
        to,
    };
    let lift = |i: usize| adapters[i].map(|a| plain(THIN[i], [Some(to(a.b, PLUS[i])), None, None]));
    let thin = [0, 1, 2].map(|i| adapters[i].map(|adapter| to(adapter.a, THIN[i])));
    let any = thin.iter().any(Option::is_some);
    [any.then(|| plain(from, thin)), lift(0), lift(1), lift(2)]
}

/// A layer's cache: the whole context, or a ring that holds the window, a batch and what can be rewound.
fn cache(config: &Config, layer: &LayerSpec, start: usize) -> Option<Cache> {
    let whole = (config.context as usize).checked_next_multiple_of(TILE)?;
    let positions = match layer.window {
        Some(window) => {
            let held = (window as usize)
                .checked_add(config.batch as usize)?
                .checked_add(config.rewind as usize)?;
            // One more tile, since a window starts anywhere in one.
            whole.min(held.checked_next_multiple_of(TILE)?.checked_add(TILE)?)
        }
        None => whole,
    };
    Cache::at(
        start,
        config.kv,
        layer.kv_heads as usize,
        layer.head_width as usize,
        positions,
    )
}

/// The largest of everything, over all layers.
struct Needs {
    width: [usize; SLOTS],
    plain: [bool; SLOTS],
    rounded: [bool; SLOTS],
    inputs: usize,
    head_width: usize,
    /// Bytes of a panel.
    panel: usize,
}

impl Needs {
    fn of(model: &Model<'_>, config: Config) -> Needs {
        let (spec, shared) = (model.spec(), model.weights());
        let mut n = Needs {
            width: [0; SLOTS],
            plain: [true; SLOTS],
            rounded: [false; SLOTS],
            inputs: 0,
            head_width: 0,
            panel: shared.embed.panel_bytes.next_multiple_of(64),
        };
        // Only matrices read these.
        n.plain[Slot::Normed as usize] = config.logits == 0;
        n.plain[Slot::Hidden as usize] = false;
        n.slot(Slot::Residual, spec.width);
        n.slot(Slot::Normed, spec.width);
        n.slot(Slot::Logits, spec.vocabulary);
        let rounding = config.activations == Activations::Int8;
        n.feeds(Slot::Normed, &shared.head.unwrap_or(shared.embed), rounding);
        for index in 0..spec.layers {
            let (s, layer) = (model.layer_spec(index), model.layer(index));
            let (q, kv) = (s.heads * s.head_width, s.kv_heads * s.head_width);
            for (slot, width) in [(Slot::Q, q), (Slot::Mixed, q), (Slot::K, kv), (Slot::V, kv)] {
                n.slot(slot, width);
            }
            n.slot(Slot::Parts, q);
            n.slot(Slot::PartSums, 2 * s.heads);
            n.slot(Slot::Hidden, s.ffn_width);
            if layer.mixer_post_norm.is_some() || layer.ffn_post_norm.is_some() {
                n.slot(Slot::Branch, spec.width);
            }
            let (a, f) = (&layer.attention, &layer.ffn);
            let normed = Slot::Normed;
            n.linear(normed, 0, &a.q, rounding);
            n.linear(normed, 1, &a.k, rounding);
            n.linear(normed, 2, &a.v, rounding);
            n.linear(Slot::Mixed, 0, &a.o, rounding);
            n.linear(normed, 0, &f.gate, rounding);
            n.linear(normed, 1, &f.up, rounding);
            n.linear(Slot::Hidden, 0, &f.down, rounding);
            n.head_width = n.head_width.max(s.head_width as usize);
        }
        n
    }

    fn slot(&mut self, slot: Slot, width: u32) {
        let held = &mut self.width[slot as usize];
        *held = (*held).max(width as usize);
    }

    #[inline(never)]
    fn linear(
        &mut self,
        from: Slot,
        place: usize,
        linear: &weights::Linear<Matrix>,
        rounding: bool,
    ) {
        self.feeds(from, &linear.weight, rounding);
        if let Some(adapter) = &linear.adapter {
            self.slot(THIN[place], adapter.a.rows as u32);
            self.slot(PLUS[place], adapter.b.rows as u32);
            self.feeds(from, &adapter.a, rounding);
            self.feeds(THIN[place], &adapter.b, rounding);
        }
    }

    fn feeds(&mut self, slot: Slot, matrix: &Matrix, rounding: bool) {
        let rounded = rounding && matrix.format.is_integer();
        self.rounded[slot as usize] |= rounded;
        self.plain[slot as usize] |= !rounded;
        self.inputs = self.inputs.max(matrix.inputs.next_multiple_of(256));
        self.panel = self.panel.max(matrix.panel_bytes.next_multiple_of(64));
    }
}

impl SlotPlace {
    fn at(
        end: &mut usize,
        rows: usize,
        width: usize,
        (plain, rounded): (bool, bool),
    ) -> Option<SlotPlace> {
        let mut take = |elements: usize, bytes: usize| {
            let start = *end;
            let size = rows
                .checked_mul(elements)?
                .checked_mul(bytes)?
                .checked_next_multiple_of(64)?;
            *end = start.checked_add(size)?;
            Some(start)
        };
        let values = take(if plain { width } else { 0 }, 4)?;
        let n = if rounded { groups(width) } else { 0 };
        let (codes, scales, sums) = (take(n * 32, 1)?, take(n, 4)?, take(n * 2, 4)?);
        Some(SlotPlace {
            width,
            rows,
            plain,
            values,
            rounded,
            codes,
            scales,
            sums,
        })
    }
}
