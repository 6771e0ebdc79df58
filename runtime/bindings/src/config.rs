//! Records that a caller fills in, or is told.

use std::sync::Arc;

use inkstone_engine as engine;
use inkstone_engine::{Full, Speculation};

use crate::error::{InkstoneError, Result};
use crate::model::Model;

/// What a session is asked to be; what is left out is the engine's choice.
#[derive(Debug, Clone, Default, uniffi::Record)]
pub struct SessionConfig {
    /// Positions; otherwise what the model was trained for, at most 4096.
    #[uniffi(default = None)]
    pub context: Option<u32>,
    /// Workers; otherwise one for each fast core that the process may use.
    #[uniffi(default = None)]
    pub threads: Option<u32>,
    /// Tokens of a prompt that are run at once.
    #[uniffi(default = None)]
    pub batch: Option<u32>,
    /// Positions that the session can always go back.
    #[uniffi(default = None)]
    pub rewind: Option<u32>,
    /// Stored form of keys and values.
    #[uniffi(default = None)]
    pub kv: Option<Kv>,
    /// Where the context is full, the older half is dropped but for so many first tokens; otherwise that is an error.
    #[uniffi(default = None)]
    pub shift_keep: Option<u32>,
    /// Tokens are run one at a time, without guesses, which change speed only.
    #[uniffi(default = false)]
    pub plain: bool,
    /// The session is for `embed` and nothing else.
    #[uniffi(default = false)]
    pub embeddings: bool,
    /// A smaller model of the same vocabulary that guesses.
    #[uniffi(default = None)]
    pub draft: Option<Arc<Model>>,
}

/// Stored form of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Kv {
    /// Two bytes a number, the usual form.
    F16,
    /// One byte a number.
    Int8,
    /// Half a byte a number.
    Int4,
    /// Four bytes a number, the yardstick.
    F32,
}

/// How the vectors of tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The last token's.
    Last,
    /// The first token's.
    First,
}

impl Pooling {
    pub(crate) fn engine(self) -> engine::Pooling {
        match self {
            Pooling::Mean => engine::Pooling::Mean,
            Pooling::Last => engine::Pooling::Last,
            Pooling::First => engine::Pooling::First,
        }
    }
}

/// What a session will take, exactly, before it exists.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Plan {
    /// Positions.
    pub context: u32,
    /// Workers.
    pub threads: u32,
    /// Bytes that the session reserves; what is mapped is not among them.
    pub reserved: u64,
    /// Every purpose and its bytes; the mapped file first.
    pub purposes: Vec<Purpose>,
}

/// What memory is for, and how much.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Record)]
pub struct Purpose {
    /// What it is for.
    pub name: String,
    /// How much.
    pub bytes: u64,
}

/// How tokens are drawn; what is left out does nothing, and nothing at all is greedy choice.
#[derive(Debug, Clone, Default, PartialEq, uniffi::Record)]
pub struct Sampling {
    /// Keys the randomness, with the position.
    #[uniffi(default = 0)]
    pub seed: u64,
    /// Divides the logits; 0 is greedy choice.
    #[uniffi(default = None)]
    pub temperature: Option<f32>,
    /// How many of the best stay.
    #[uniffi(default = None)]
    pub top_k: Option<u32>,
    /// Probability that the best must reach together.
    #[uniffi(default = None)]
    pub top_p: Option<f32>,
    /// Probability, as a part of the best one's, below which tokens are out.
    #[uniffi(default = None)]
    pub min_p: Option<f32>,
    /// Probability that the most typical must reach together.
    #[uniffi(default = None)]
    pub typical_p: Option<f32>,
    /// Divides (above zero) or multiplies the logit of a token that was there already.
    #[uniffi(default = None)]
    pub repetition_penalty: Option<f32>,
    /// Taken off the logit for each time the token was there.
    #[uniffi(default = None)]
    pub frequency_penalty: Option<f32>,
    /// Taken off the logit of a token that was there.
    #[uniffi(default = None)]
    pub presence_penalty: Option<f32>,
    /// How many of the newest tokens these three penalties see.
    #[uniffi(default = None)]
    pub penalty_last_n: Option<u32>,
    /// Strength of DRY, which keeps from repeating sequences.
    #[uniffi(default = None)]
    pub dry_multiplier: Option<f32>,
    /// How often XTC acts, which leaves the likeliest out.
    #[uniffi(default = None)]
    pub xtc_probability: Option<f32>,
    /// Probability from which a token is a top choice for XTC.
    #[uniffi(default = None)]
    pub xtc_threshold: Option<f32>,
    /// Target surprise of mirostat in bits.
    #[uniffi(default = None)]
    pub mirostat_tau: Option<f32>,
    /// How fast mirostat's bound moves.
    #[uniffi(default = None)]
    pub mirostat_eta: Option<f32>,
}

/// How an answer is made.
#[derive(Debug, Clone, Default, PartialEq, uniffi::Record)]
pub struct AnswerOptions {
    /// Most tokens; otherwise no limit but the context's.
    #[uniffi(default = None)]
    pub limit: Option<u32>,
    /// Texts that end the answer and do not belong to it.
    #[uniffi(default = [])]
    pub stops: Vec<String>,
    /// What the whole answer must be.
    #[uniffi(default = None)]
    pub grammar: Option<Grammar>,
    /// Goes on behind the model's own stop tokens: for measuring.
    #[uniffi(default = false)]
    pub ignore_stops: bool,
}

/// What a whole answer must be.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum Grammar {
    /// A document that this JSON Schema accepts.
    JsonSchema {
        /// The schema, JSON.
        schema: String,
    },
    /// A text that this grammar derives from `start`; Lark.
    Lark {
        /// The grammar.
        grammar: String,
    },
    /// A text that this grammar derives from `root`; GBNF.
    Gbnf {
        /// The grammar.
        grammar: String,
    },
    /// A text that this regular expression matches from its beginning to its end.
    Regex {
        /// The expression.
        expression: String,
    },
}

impl SessionConfig {
    /// The engine's configuration.
    pub(crate) fn engine(&self) -> engine::SessionConfig {
        let usual = engine::SessionConfig::default();
        engine::SessionConfig {
            context: self.context,
            threads: self.threads,
            batch: self.batch.unwrap_or(usual.batch),
            rewind: self.rewind.unwrap_or(usual.rewind),
            kv: self.kv.map_or(usual.kv, Kv::engine),
            embeddings: self.embeddings,
            full: self
                .shift_keep
                .map_or(usual.full, |keep| Full::Shift { keep }),
            speculation: if self.plain {
                Speculation::Off
            } else {
                usual.speculation
            },
            draft: self.draft.as_ref().map(|draft| draft.engine().clone()),
            ..usual
        }
    }
}

impl Kv {
    fn engine(self) -> engine::Kv {
        match self {
            Kv::F16 => engine::Kv::F16,
            Kv::Int8 => engine::Kv::Int8,
            Kv::Int4 => engine::Kv::Int4,
            Kv::F32 => engine::Kv::F32,
        }
    }
}

impl From<engine::Plan> for Plan {
    fn from(plan: engine::Plan) -> Plan {
        let purpose = |(name, bytes): (&str, u64)| Purpose {
            name: name.to_owned(),
            bytes,
        };
        Plan {
            context: plan.config.context,
            threads: plan.config.threads,
            reserved: plan.reserved(),
            purposes: plan.rows().map(purpose).into(),
        }
    }
}

impl Sampling {
    /// The engine's parameters.
    pub(crate) fn engine(&self) -> engine::Params {
        let usual = engine::Params::default();
        engine::Params {
            seed: self.seed,
            temperature: self.temperature.unwrap_or(usual.temperature),
            top_k: self.top_k.unwrap_or(usual.top_k),
            top_p: self.top_p.unwrap_or(usual.top_p),
            min_p: self.min_p.unwrap_or(usual.min_p),
            typical_p: self.typical_p.unwrap_or(usual.typical_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(usual.repetition_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(usual.frequency_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(usual.presence_penalty),
            penalty_last_n: self.penalty_last_n.unwrap_or(usual.penalty_last_n),
            dry_multiplier: self.dry_multiplier.unwrap_or(usual.dry_multiplier),
            xtc_probability: self.xtc_probability.unwrap_or(usual.xtc_probability),
            xtc_threshold: self.xtc_threshold.unwrap_or(usual.xtc_threshold),
            mirostat_tau: self.mirostat_tau.unwrap_or(usual.mirostat_tau),
            mirostat_eta: self.mirostat_eta.unwrap_or(usual.mirostat_eta),
            ..usual
        }
    }
}

impl AnswerOptions {
    /// The engine's options.
    pub(crate) fn engine(&self) -> engine::Options {
        engine::Options {
            limit: self.limit,
            stops: self.stops.clone(),
            ignore_stops: self.ignore_stops,
            ..engine::Options::default()
        }
    }
}

impl Grammar {
    /// The engine's grammar.
    pub(crate) fn engine(&self) -> Result<engine::Grammar> {
        Ok(match self {
            Grammar::JsonSchema { schema } => {
                let wrong = |e| InkstoneError::invalid(format_args!("the schema: {e}"));
                engine::Grammar::JsonSchema(serde_json::from_str(schema).map_err(wrong)?)
            }
            Grammar::Lark { grammar } => engine::Grammar::Lark(grammar.clone()),
            Grammar::Gbnf { grammar } => engine::Grammar::gbnf(grammar)?,
            Grammar::Regex { expression } => engine::Grammar::Regex(expression.clone()),
        })
    }
}
