//! The model as data, and the one forward pass over it.
//!
//! A [`File`](inkstone_format::File) becomes a [`Model`]: a [`Spec`] and one slot per weight. A [`Config`] turns it into
//! a [`Plan`], which knows every byte a session will use, and a short list of [`Op`]s, which a [`Backend`] runs.
//! [`reference::Reference`] is the executable specification of that list. No device and no architecture is named here.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod backend;
pub mod cache;
pub mod hash;
pub mod model;
pub mod op;
pub mod plan;
#[cfg(feature = "alloc")]
pub mod reference;
pub mod session;
pub mod spec;
pub mod weights;

pub use backend::{Backend, Batch, Fault, Place, Places, Wanted};
pub use cache::{Cache, Kv};
pub use hash::{Digest, LogitsHash};
pub use inkstone_quant::{NUMERICS, math};
pub use model::{Model, ModelError};
pub use op::Op;
pub use plan::{Activations, Config, Memory, Plan, PlanError, Slot};
pub use session::{Core, SessionError, Step};
pub use spec::{Activation, LayerSpec, Spec};
pub use weights::{Layer, Linear, Matrix, ROLES, Role, Weights};
