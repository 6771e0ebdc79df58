//! One computation that every target runs, a server and a microcontroller: the hash of the logits of a prompt and of
//! the greedy answer to it. Needs neither an allocator nor an operating system.
#![no_std]
#![forbid(unsafe_code)]

use core::fmt;

use inkstone_cpu::{Cpu, CpuError, Isa, Team};
use inkstone_format::File;
use inkstone_model::cache::KVS;
use inkstone_model::{
    Activations, Config, Core, Digest, Kv, LogitsHash, Model, ModelError, Op, Plan, PlanError,
    SessionError, Step,
};
use serde::{Deserialize, Serialize};

/// Tokens of the prompt.
pub const PROMPT: usize = 64;

/// Tokens of the answer.
pub const ANSWER: usize = 64;

/// What is computed, beside the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Stored form of keys and values.
    pub kv: Kv,
    /// Tokens of the prompt that are run at once.
    pub chunk: u32,
}

/// What a target says of one case: a frame on a serial line, as postcard and COBS have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report<'a> {
    /// The target.
    pub target: &'a str,
    /// The stored form of keys and values.
    pub kv: &'a str,
    /// Tokens of the prompt that were run at once.
    pub chunk: u32,
    /// The hash of all rows of logits; `None` where the case failed.
    pub hash: Option<[u8; 32]>,
    /// Instructions of a token of the answer, where the target counts them.
    pub instructions: Option<u64>,
}

/// The longest frame of a [`Report`].
pub const FRAME_MAX: usize = 160;

/// Every case: keys and values in the forms that devices use, chunks that do and do not divide the prompt.
pub fn cases() -> impl Iterator<Item = (&'static str, Case)> {
    let forms = KVS
        .iter()
        .filter(|(name, _)| ["f16", "int8"].contains(name));
    forms.flat_map(|&(name, kv)| [1, 17, 64].map(|chunk| (name, Case { kv, chunk })))
}

/// Why a case cannot be run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are no file.
    File(inkstone_format::Error),
    /// The file is no model.
    Model(ModelError),
    /// No plan can be made.
    Plan(PlanError),
    /// No backend can be made, for want of memory most likely.
    Cpu(CpuError),
    /// The computation failed.
    Session(SessionError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File(e) => e.fmt(f),
            Error::Model(e) => e.fmt(f),
            Error::Plan(e) => e.fmt(f),
            Error::Cpu(e) => e.fmt(f),
            Error::Session(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl From<SessionError> for Error {
    fn from(e: SessionError) -> Error {
        Error::Session(e)
    }
}

/// A model and what its plan for a case is.
///
/// # Errors
/// The bytes are no model, or it cannot be planned for.
pub fn plan(model: &Model<'_>, case: Case) -> Result<Plan, Error> {
    let config = Config {
        context: (PROMPT + ANSWER) as u32,
        sequences: 1,
        batch: case.chunk,
        logits: case.chunk,
        threads: 1,
        rewind: 0,
        kv: case.kv,
        activations: Activations::default(),
        streamed: false,
    };
    Plan::new(model, config).map_err(Error::Plan)
}

/// The model in the bytes of a file.
///
/// # Errors
/// There is none.
pub fn model(bytes: &[u8]) -> Result<Model<'_>, Error> {
    let file = File::parse(bytes).map_err(Error::File)?;
    Model::new(file).map_err(Error::Model)
}

/// Runs a case; the hash of the rows of logits of all [`PROMPT`] + [`ANSWER`] tokens.
///
/// `arena` holds what [`plan`] asks for, from a multiple of 64 on; `O` holds the operations. `tick` is called before
/// the first token of the answer, and after each.
///
/// # Errors
/// See [`Error`].
pub fn run<O>(
    model: &Model<'_>,
    case: Case,
    isa: Isa,
    arena: &mut [u8],
    tick: &mut dyn FnMut(),
) -> Result<Digest, Error>
where
    O: AsRef<[Op]> + FromIterator<Op>,
{
    let plan = plan(model, case)?;
    let ops: O = plan.ops(model).collect();
    let cpu = Cpu::new(plan, ops, model.file().bytes(), arena, isa, Team::alone());
    let mut session = Core::new(cpu.map_err(Error::Cpu)?, [0; PROMPT + ANSWER], plan);
    let mut hash = LogitsHash::new();
    session.feed(&prompt(plan.spec.vocabulary))?;
    let mut last = hash_all(&mut session, &mut hash)?;
    tick();
    for _ in 0..ANSWER {
        let token = greatest(session.logits(last));
        session.feed(&[token])?;
        last = hash_all(&mut session, &mut hash)?;
        tick();
    }
    Ok(hash.finish())
}

/// Runs what is queued, every row of logits into the hash; the row of the last token.
fn hash_all<W, A, O>(
    session: &mut Core<Cpu<W, A, O>, [u32; PROMPT + ANSWER]>,
    hash: &mut LogitsHash,
) -> Result<usize, Error>
where
    W: AsRef<[u8]>,
    A: AsRef<[u8]> + AsMut<[u8]>,
    O: AsRef<[Op]>,
{
    let chunk = session.plan().config.batch as usize;
    loop {
        let before = session.done();
        let step = session.step_all(chunk, None)?;
        let rows = session.done() - before;
        (0..rows).for_each(|row| hash.row(session.logits(row)));
        if step == Step::Ready {
            return Ok(rows - 1);
        }
    }
}

/// Tokens without meaning.
fn prompt(vocabulary: u32) -> [u32; PROMPT] {
    core::array::from_fn(|i| (i as u32).wrapping_mul(2_654_435_761) / 7 % vocabulary)
}

/// The first of the greatest logits.
fn greatest(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (index, x) in logits.iter().enumerate() {
        if *x > logits[best] {
            best = index;
        }
    }
    best as u32
}
