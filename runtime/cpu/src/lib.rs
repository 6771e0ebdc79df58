//! Runs plans on processors: kernels for several instruction sets, chosen at run time, and a team of threads.
//!
//! Everything gives the bits that `inkstone_quant::reference` and `inkstone_model::reference` define. Without feature
//! `std` there is one thread, and only kernels for what the target always has.
#![no_std]

#[cfg(any(test, feature = "std"))]
extern crate std;

mod arena;
mod cpu;
mod environment;
mod isa;
pub mod kernels;
mod ops;
#[cfg(feature = "std")]
pub mod probe;
mod scales;
mod simd;
mod snapshot;
mod team;
#[cfg(feature = "train")]
pub mod train;

pub use cpu::{Cpu, CpuError};
pub use isa::{ISAS, Isa, IsaError, VARIABLE};
pub use kernels::{KERNELS, Kernel};
pub use team::Team;
#[cfg(feature = "std")]
pub use team::{Limit, Parallel};
