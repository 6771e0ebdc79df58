//! The backend: a plan, its operations, the file's bytes, an arena and a team.

use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use inkstone_model::weights::Stored;
use inkstone_model::{Backend, Batch, Cache, Fault, Op, Plan, Slot};

use crate::arena::{ALIGNMENT, Arena, numbers};
use crate::isa::{Isa, IsaError, Ready};
use crate::ops::{self, Run};
use crate::snapshot;
use crate::team::{Team, Worker};

/// Runs a plan on processors.
///
/// `W` holds the file's bytes, `A` the arena, `O` the operations of the plan.
pub struct Cpu<W, A, O> {
    plan: Plan,
    ops: O,
    file: W,
    arena: A,
    isa: Ready,
    team: Team,
}

/// Why a backend cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CpuError {
    /// The instruction set is not there.
    Isa(IsaError),
    /// The arena has not as many bytes as the plan wants.
    Arena {
        /// Bytes it has.
        bytes: usize,
        /// Bytes wanted.
        wanted: usize,
    },
    /// The arena does not start at a multiple of 64.
    Alignment,
    /// The team has more workers than the plan has scratch for.
    Threads {
        /// Workers of the team.
        team: usize,
        /// Workers of the plan.
        plan: usize,
    },
    /// The plan's scratch is too small for an operation.
    Scratch {
        /// Bytes for each worker.
        bytes: usize,
        /// Bytes wanted.
        wanted: usize,
    },
    /// The plan needs memory or tensors that the operations or the file do not have.
    Plan,
}

impl core::fmt::Display for CpuError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            CpuError::Isa(e) => e.fmt(f),
            CpuError::Arena { bytes, wanted } => {
                write!(f, "the arena has {bytes} bytes, {wanted} are needed")
            }
            CpuError::Alignment => {
                write!(f, "the arena does not start at a multiple of {ALIGNMENT}")
            }
            CpuError::Threads { team, plan } => {
                write!(f, "the team has {team} workers, the plan {plan}")
            }
            CpuError::Scratch { bytes, wanted } => write!(
                f,
                "a worker has {bytes} bytes of scratch, {wanted} are needed"
            ),
            CpuError::Plan => write!(f, "the operations do not fit the plan"),
        }
    }
}

impl core::error::Error for CpuError {}

impl From<IsaError> for CpuError {
    fn from(e: IsaError) -> Self {
        CpuError::Isa(e)
    }
}

impl<W, A, O> Cpu<W, A, O>
where
    W: Stored,
    A: AsRef<[u8]> + AsMut<[u8]>,
    O: AsRef<[Op]>,
{
    /// A backend for `plan`, whose operations are `ops`, over the file that both were made from.
    ///
    /// `arena` holds [`Memory::arena`](inkstone_model::Memory::arena) bytes from a multiple of 64 on, whatever they are.
    ///
    /// # Errors
    /// What is too small, or absent.
    pub fn new(
        plan: Plan,
        ops: O,
        file: W,
        mut arena: A,
        isa: Isa,
        team: Team,
    ) -> Result<Self, CpuError> {
        let isa = Ready::new(isa)?;
        check_arena(&plan, arena.as_mut())?;
        let threads = (team.threads(), plan.config.threads as usize);
        if threads.0 > threads.1 {
            return Err(CpuError::Threads {
                team: threads.0,
                plan: threads.1,
            });
        }
        let streamed = plan.config.streamed;
        let wanted = ops.as_ref().iter().map(|op| ops::scratch(op, streamed));
        let wanted = wanted.max().unwrap_or(0);
        if wanted > plan.scratch_each {
            return Err(CpuError::Scratch {
                bytes: plan.scratch_each,
                wanted,
            });
        }
        Ok(Cpu {
            plan,
            ops,
            file,
            arena,
            isa,
            team,
        })
    }

    /// The instruction set it uses.
    pub fn isa(&self) -> Isa {
        self.isa.isa()
    }

    fn caches(&self) -> impl Iterator<Item = &Cache> {
        self.ops.as_ref().iter().filter_map(|op| match op {
            Op::Rope(rope) => Some(&rope.cache),
            _ => None,
        })
    }
}

/// Blocks are looked at as a whole: no branch stands between the numbers of one.
fn all_finite(x: &[f32]) -> bool {
    let whole = |block: &[f32]| block.iter().fold(true, |all, x| all & x.is_finite());
    x.chunks(256).all(whole)
}

fn check_arena(plan: &Plan, bytes: &[u8]) -> Result<(), CpuError> {
    if bytes.len() < plan.memory.arena {
        return Err(CpuError::Arena {
            bytes: bytes.len(),
            wanted: plan.memory.arena,
        });
    }
    if !bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
        return Err(CpuError::Alignment);
    }
    Ok(())
}

/// One worker's way through the operations. All meet after each, and leave together when `stop` is set.
///
/// Worker 0 alone looks at `stop`, and writes the number of the operation before which all leave ahead of the barrier
/// that precedes it; one that is late sees at most a later number.
fn walk(run: &Run<'_>, ops: &[Op], leave: &AtomicUsize, worker: &Worker<'_>) {
    for (index, op) in ops.iter().enumerate() {
        if index >= leave.load(Ordering::Relaxed) {
            return;
        }
        run.step(op, worker);
        let stop = run.batch.stop.filter(|_| worker.index == 0);
        if stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
            && leave.load(Ordering::Relaxed) == usize::MAX
        {
            leave.store(index + 1, Ordering::Relaxed);
        }
        worker.meet();
    }
}

impl<W, A, O> Backend for Cpu<W, A, O>
where
    W: Stored,
    A: AsRef<[u8]> + AsMut<[u8]>,
    O: AsRef<[Op]>,
{
    fn run(&mut self, batch: &Batch<'_>) -> Result<(), Fault> {
        if !batch.fits(&self.plan) {
            return Err(Fault::BadBatch);
        }
        if batch.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Err(Fault::Cancelled);
        }
        let ops = self.ops.as_ref();
        let arena = Arena::new(self.arena.as_mut());
        let unread = AtomicBool::new(false);
        let run = Run {
            unread: &unread,
            plan: &self.plan,
            isa: self.isa,
            file: self.file.bytes(),
            arena,
            batch,
        };
        let leave = AtomicUsize::new(usize::MAX);
        self.team.run(&|worker| walk(&run, ops, &leave, worker));
        if leave.into_inner() < ops.len() {
            return Err(Fault::Cancelled);
        }
        if unread.into_inner() {
            return Err(Fault::Unread);
        }
        match (0..batch.wanted_rows()).find(|&row| !all_finite(self.logits(row..row + 1))) {
            Some(row) => Err(Fault::NotFinite { row: row as u32 }),
            None => Ok(()),
        }
    }

    fn logits(&mut self, rows: Range<usize>) -> &mut [f32] {
        let place = self.plan.slot(Slot::Logits);
        numbers(
            self.arena.as_mut(),
            place.values + rows.start * place.width * size_of::<f32>(),
            rows.len() * place.width,
        )
    }

    fn read(&self, slot: Slot, row: usize, out: &mut [f32]) {
        let place = self.plan.slot(slot);
        let start = place.values + row * place.width * size_of::<f32>();
        let (bytes, _) = self.arena.as_ref()[start..][..size_of_val(out)].as_chunks::<4>();
        out.iter_mut()
            .zip(bytes)
            .for_each(|(to, bytes)| *to = f32::from_le_bytes(*bytes));
    }

    fn save(&self, positions: u32, sink: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let arena = self.arena.as_ref();
        let mut pieces = self
            .caches()
            .flat_map(|cache| snapshot::pieces(cache, positions as usize));
        pieces.all(|piece| sink(&arena[piece]))
    }

    fn load(&mut self, positions: u32, source: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        let arena = self.arena.as_mut();
        let caches = self.ops.as_ref().iter().filter_map(|op| match op {
            Op::Rope(rope) => Some(&rope.cache),
            _ => None,
        });
        let mut pieces = caches.flat_map(|cache| snapshot::pieces(cache, positions as usize));
        pieces.all(|piece| source(&mut arena[piece]))
    }
}
