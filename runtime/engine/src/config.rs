//! What a session is asked to be, and what it will take.

use inkstone_model::{Activations, Config, Kv, Memory};

use crate::cores::Cores;
use crate::device::{self, Device};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;
use crate::speculation::{self, Speculation};

/// The context where nothing is asked for.
const CONTEXT: u32 = 4096;

/// What a session is asked to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Name of a row of [`DEVICES`](crate::DEVICES).
    pub device: String,
    /// Positions; `None` is what the model was trained for, at most 4096.
    pub context: Option<u32>,
    /// Workers; `None` is one for each fast core that this process may use, as far as its quota of time reaches.
    pub threads: Option<u32>,
    /// Binds each worker to a processor of its own; [`Cores::places`] is their order.
    pub pin: bool,
    /// Tokens of a prompt that are run at once; progress is told and cancelling is possible in between, too.
    pub batch: u32,
    /// Rows of logits kept by [`Session::advance_all`](crate::Session::advance_all); at most `batch`.
    pub logits: u32,
    /// For [`Session::embed`](crate::Session::embed) and nothing else: no logits are kept, and the head is left out.
    pub embeddings: bool,
    /// Positions that a session can always go back.
    pub rewind: u32,
    /// Stored form of keys and values.
    pub kv: Kv,
    /// What integer weights are multiplied with.
    pub activations: Activations,
    /// Name of an instruction set of the device; `None` is what `INKSTONE_ISA` says, or else the best.
    pub isa: Option<String>,
    /// What happens when the context is full.
    pub full: Full,
    /// Whether tokens are guessed, to run several at once; what is drawn stays the same.
    pub speculation: Speculation,
    /// A smaller model of the same vocabulary that guesses where the sequence itself has nothing to say.
    pub draft: Option<Model>,
}

/// What happens when the context is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Full {
    /// [`ErrorKind::ContextFull`](crate::ErrorKind::ContextFull).
    #[default]
    Error,
    /// The first `keep` tokens stay, of the others the older half goes, and what stays is computed again.
    Shift {
        /// Tokens at the beginning that always stay.
        keep: u32,
    },
}

impl Default for SessionConfig {
    fn default() -> SessionConfig {
        SessionConfig {
            device: device::DEVICES[0].name.to_owned(),
            context: None,
            threads: None,
            pin: false,
            batch: 128,
            logits: 1,
            embeddings: false,
            rewind: 64,
            kv: Kv::default(),
            activations: Activations::default(),
            isa: None,
            full: Full::Error,
            speculation: Speculation::default(),
            draft: None,
        }
    }
}

/// What a session will take, exactly, before it exists.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// What it was made for, every choice made; `rewind` is one more than asked, `logits` enough for guesses.
    pub config: Config,
    /// Guesses at most at a time.
    pub depth: u32,
    /// Bytes of the file, and of the draft's, mapped and shared with other processes.
    pub mapped: u64,
    /// Of the file's, the weights.
    pub weights: u64,
    /// The arena by purpose.
    pub memory: Memory,
    /// Bytes for the tokens of the context.
    pub tokens: u64,
    /// Bytes for choosing tokens.
    pub sampler: u64,
    /// Bytes for the list of operations.
    pub operations: u64,
    /// Bytes that the draft's session reserves.
    pub draft: u64,
    pub(crate) pin: bool,
    pub(crate) layout: inkstone_model::Plan,
    pub(crate) device: &'static Device,
}

impl Plan {
    /// Bytes that the session reserves; what is mapped is not among them.
    pub fn reserved(&self) -> u64 {
        self.rows().iter().skip(1).map(|(_, bytes)| bytes).sum()
    }

    /// Every purpose and its bytes; the mapped file first.
    pub fn rows(&self) -> [(&'static str, u64); 9] {
        let memory = &self.memory;
        [
            ("file, mapped", self.mapped),
            ("keys and values", memory.kv as u64),
            ("activations", memory.slots as u64),
            ("logits", memory.logits as u64),
            ("scratch", memory.scratch as u64),
            ("tokens", self.tokens),
            ("sampler", self.sampler),
            ("operations", self.operations),
            ("draft", self.draft),
        ]
    }
}

impl Model {
    /// What a session of this configuration will take; nothing is reserved.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a parameter out of range, [`ErrorKind::Unsupported`] for a device that is not there,
    /// [`ErrorKind::Mismatch`] for a draft of another vocabulary.
    pub fn plan(&self, config: &SessionConfig) -> Result<Plan> {
        self.plan_for(config, 1)
    }

    /// As [`Self::plan`], with caches for so many sequences, and a row of logits for each.
    pub(crate) fn plan_for(&self, config: &SessionConfig, sequences: u32) -> Result<Plan> {
        let device = device::find(&config.device)?;
        let view = self.view();
        let spec = self.spec();
        let context = config.context.unwrap_or(spec.context.min(CONTEXT));
        let batch = config.batch.min(context.max(sequences));
        let depth = if config.embeddings {
            0
        } else {
            config.speculation.depth(batch)?
        };
        let logits = if config.embeddings {
            0
        } else {
            config.logits.max(depth + 1).max(sequences)
        };
        let resolved = Config {
            context,
            sequences,
            batch,
            logits,
            threads: config.threads.unwrap_or_else(|| Cores::here().workers()),
            // One more, so that the last token before the place gone back to can be run again for its logits.
            rewind: config.rewind.saturating_add(1),
            kv: config.kv,
            activations: config.activations,
            streamed: self.is_streamed(),
        };
        check_keep(config.full, context)?;
        let layout = inkstone_model::Plan::new(&view, resolved)?;
        let draft = match &config.draft {
            Some(draft) if depth > 0 => {
                speculation::check_vocabulary(self, draft)?;
                Some(draft.plan(&speculation::draft_config(config, context, depth))?)
            }
            _ => None,
        };
        let weights = view.file().tensors().map(|tensor| tensor.bytes).sum();
        let (context, vocabulary) = (u64::from(context), u64::from(spec.vocabulary));
        let sequences = u64::from(sequences);
        let operation = size_of::<inkstone_model::Op>() as u64;
        Ok(Plan {
            config: resolved,
            depth,
            mapped: self.mapped() + draft.as_ref().map_or(0, |draft| draft.mapped),
            weights,
            memory: layout.memory,
            // The tokens, and room to put them together again.
            tokens: context * 8 * sequences,
            sampler: (vocabulary * 12 + context * 16) * sequences,
            operations: layout.ops(&view).count() as u64 * operation,
            draft: draft.as_ref().map_or(0, Plan::reserved),
            pin: config.pin,
            layout,
            device,
        })
    }
}

fn check_keep(full: Full, context: u32) -> Result<()> {
    match full {
        Full::Shift { keep } if keep > context / 2 => {
            let text =
                format!("{keep} tokens to keep are more than half of the context of {context}");
            Err(Error::text(ErrorKind::Invalid, text))
        }
        _ => Ok(()),
    }
}
