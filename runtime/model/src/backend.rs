//! What runs a plan.

use core::ops::Range;
use core::sync::atomic::AtomicBool;

use crate::plan::{Plan, Slot};

/// Tokens to run through the model.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// At most [`Config::batch`](crate::Config::batch), each below the vocabulary.
    pub tokens: &'a [u32],
    /// Where they stand.
    pub places: Places<'a>,
    /// Whose logits are kept.
    pub wanted: Wanted,
    /// Set by anyone to have the run given up within a layer's time.
    pub stop: Option<&'a AtomicBool>,
}

/// A position of one of the sequences that a plan has caches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Below [`Config::sequences`](crate::Config::sequences).
    pub sequence: u32,
    /// Below [`Config::context`](crate::Config::context).
    pub position: u32,
}

/// Where the tokens of a batch stand.
#[derive(Debug, Clone, Copy)]
pub enum Places<'a> {
    /// At consecutive positions from this place on.
    From(Place),
    /// Each at its own, no two at the same.
    Each(&'a [Place]),
}

/// Consecutive positions of the first sequence, from this one on.
impl From<u32> for Places<'_> {
    fn from(position: u32) -> Self {
        Places::From(Place {
            sequence: 0,
            position,
        })
    }
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

    /// Rows of the last run's wanted logits, one behind the other, each `vocabulary` long.
    fn logits(&mut self, rows: Range<usize>) -> &mut [f32];

    /// Copies row `row` of a slot that keeps numbers out; for tests of single operations.
    fn read(&self, slot: Slot, row: usize, out: &mut [f32]);

    /// Hands the caches of positions below `positions` to `sink` in order, the same bytes on every backend of one kind.
    /// Ends early and returns false when `sink` does.
    fn save(&self, positions: u32, sink: &mut dyn FnMut(&[u8]) -> bool) -> bool;

    /// Takes back what [`Self::save`] gave.
    fn load(&mut self, positions: u32, source: &mut dyn FnMut(&mut [u8]) -> bool) -> bool;
}

impl Batch<'_> {
    /// Where a token stands.
    #[inline(always)]
    pub fn place(&self, token: usize) -> Place {
        match self.places {
            Places::From(Place { sequence, position }) => Place {
                sequence,
                position: position + token as u32,
            },
            Places::Each(places) => places[token],
        }
    }

    /// Whether it fits what a plan was made for.
    pub fn fits(&self, plan: &Plan) -> bool {
        let (config, n) = (&plan.config, self.tokens.len());
        let within = |place: &Place, tokens: usize| {
            place.sequence < config.sequences
                && (place.position as usize).saturating_add(tokens) <= config.context as usize
        };
        let placed = match self.places {
            Places::From(place) => within(&place, n),
            Places::Each(places) => {
                places.len() == n && places.iter().all(|place| within(place, 1))
            }
        };
        n >= 1
            && n <= config.batch as usize
            && self.wanted_rows() <= config.logits as usize
            && placed
            && self.tokens.iter().all(|&t| t < plan.spec.vocabulary)
    }

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
