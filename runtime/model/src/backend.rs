//! What runs a plan.

use core::sync::atomic::AtomicBool;

use crate::plan::Slot;

/// Tokens to run through the model at consecutive positions.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// At most [`Config::batch`](crate::Config::batch), each below the vocabulary.
    pub tokens: &'a [u32],
    /// Position of the first one.
    pub start: u32,
    /// Whose logits are kept.
    pub wanted: Wanted,
    /// Set by anyone to have the run given up within a layer's time.
    pub stop: Option<&'a AtomicBool>,
}

/// Whose logits are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Nobody's: the last norm and the head are left out.
    None,
    /// The last token's, as row 0.
    Last,
    /// Every token's.
    All,
}

/// Why a run ended early. The cache holds nothing new that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// `stop` was set.
    Cancelled,
    /// A wanted row has a logit that is not finite.
    NotFinite {
        /// Row of the batch's wanted rows.
        row: u32,
    },
    /// The batch does not fit the plan.
    BadBatch,
    /// Weights that are not in memory could not be read.
    Unread,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Fault::Cancelled => write!(f, "cancelled"),
            Fault::NotFinite { row } => write!(
                f,
                "a logit of row {row} is not finite; the weights may be damaged"
            ),
            Fault::BadBatch => write!(f, "the batch does not fit the plan"),
            Fault::Unread => write!(f, "weights could not be read"),
        }
    }
}

impl core::error::Error for Fault {}

/// Something that runs a plan: a processor, a device, the reference.
///
/// Made from a plan, its operations, the file's bytes and an arena. All methods are required.
pub trait Backend {
    /// Runs a batch: appends its keys and values and leaves the wanted logits.
    ///
    /// # Errors
    /// See [`Fault`].
    fn run(&mut self, batch: &Batch<'_>) -> Result<(), Fault>;

    /// Row `row` of the last run's wanted logits, `vocabulary` long.
    fn logits(&mut self, row: usize) -> &mut [f32];

    /// Copies row `row` of a slot that keeps numbers out; for tests of single operations.
    fn read(&self, slot: Slot, row: usize, out: &mut [f32]);

    /// Hands the caches of positions below `positions` to `sink` in order, the same bytes on every backend of one kind.
    /// Ends early and returns false when `sink` does.
    fn save(&self, positions: u32, sink: &mut dyn FnMut(&[u8]) -> bool) -> bool;

    /// Takes back what [`Self::save`] gave.
    fn load(&mut self, positions: u32, source: &mut dyn FnMut(&mut [u8]) -> bool) -> bool;
}

impl Batch<'_> {
    /// How many rows of logits are wanted.
    pub fn wanted_rows(&self) -> usize {
        match self.wanted {
            Wanted::None => 0,
            Wanted::Last => 1,
            Wanted::All => self.tokens.len(),
        }
    }

    /// The token whose logits are wanted as row `row`.
    pub fn wanted_token(&self, row: usize) -> usize {
        match self.wanted {
            Wanted::All => row,
            Wanted::None | Wanted::Last => self.tokens.len() - 1,
        }
    }
}
