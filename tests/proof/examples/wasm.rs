//! The computation for a host of WebAssembly: `room` gives memory for a model, `isa` names instruction sets, `prove`
//! runs a case of the model on one.
//!
//! Without the standard library, which takes longer to build than all else.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![allow(unsafe_code)]

extern crate alloc;

use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;

use inkstone_cpu::{ISAS, Isa};
use inkstone_model::Op;
use inkstone_proof::{cases, model, plan, run};

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// A model, and the hash of the last case.
struct Kept {
    model: RefCell<Vec<u8>>,
    hash: RefCell<[u8; 32]>,
}

// SAFETY: an instance of WebAssembly has one thread, and nothing else runs this.
unsafe impl Sync for Kept {}

static KEPT: Kept = Kept {
    model: RefCell::new(Vec::new()),
    hash: RefCell::new([0; 32]),
};

/// Memory for a model of `bytes`, which the host fills.
#[unsafe(no_mangle)]
extern "C" fn room(bytes: usize) -> *mut u8 {
    let mut model = KEPT.model.borrow_mut();
    model.resize(bytes + 63, 0);
    let start = aligned(&model);
    model[start..].as_mut_ptr()
}

/// An instruction set that is there, by its number: the place of its name, and above that how many bytes it has; 0
/// where there are no more. Better ones are later.
#[unsafe(no_mangle)]
extern "C" fn isa(index: usize) -> u64 {
    let name = there().nth(index).map_or("", |(name, _)| name);
    if name.is_empty() {
        return 0;
    }
    (name.len() as u64) << 32 | name.as_ptr() as u64
}

fn there() -> impl Iterator<Item = &'static (&'static str, Isa)> {
    ISAS.iter().filter(|(_, isa)| isa.available())
}

/// Runs a case by its number on an instruction set by its number; the place of 32 bytes of hash, or 0.
#[unsafe(no_mangle)]
extern "C" fn prove(case: usize, isa: usize) -> *const u8 {
    let model = KEPT.model.borrow();
    match proven(&model[aligned(&model)..], case, isa) {
        Some(hash) => {
            let mut kept = KEPT.hash.borrow_mut();
            *kept = hash;
            kept.as_ptr()
        }
        None => core::ptr::null(),
    }
}

fn proven(bytes: &[u8], case: usize, isa: usize) -> Option<[u8; 32]> {
    let (_, case) = cases().nth(case)?;
    let (_, isa) = there().nth(isa)?;
    let model = model(bytes).ok()?;
    let mut arena = vec![0; plan(&model, case).ok()?.memory.arena + 63];
    let start = aligned(&arena);
    let digest = run::<Vec<Op>>(&model, case, *isa, &mut arena[start..], &mut || {});
    digest.ok().map(|digest| digest.0)
}

fn aligned(bytes: &[u8]) -> usize {
    bytes.as_ptr().align_offset(64)
}
