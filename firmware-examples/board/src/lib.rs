//! What the examples need of a board: its memory, its serial port, its counter, and a console on the host.
//!
//! A board is a row of `boards.txt`. Everything unsafe of the examples is here.
#![no_std]

use core::panic::PanicInfo;

mod counter;
mod serial;

#[cfg(target_arch = "arm")]
pub use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
pub use riscv_rt::entry;

pub use counter::Counter;
pub use embedded_alloc::LlffHeap;
pub use semihosting::{print, println, process::exit};

include!(concat!(env!("OUT_DIR"), "/row.rs"));

/// The flash that holds a `.ink` file, from its beginning.
pub fn model() -> &'static [u8] {
    // SAFETY: the table gives a region of flash that nobody writes.
    unsafe { core::slice::from_raw_parts(MODEL.0 as *const u8, MODEL.1) }
}

/// A mistake of the program: says where, in few bytes of flash, and ends.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, |place| place.line());
    println!("{NAME}: the program failed at line {line}");
    exit(101)
}

/// Gives memory to an allocator, for good.
pub fn lend(heap: &'static LlffHeap, memory: &'static mut [u8]) {
    // SAFETY: the memory is the allocator's alone from now on.
    unsafe { heap.init(memory.as_mut_ptr().addr(), memory.len()) }
}

/// What is given away once, to the program: the memory of a session, and the serial port.
pub struct Board {
    /// Memory that nothing else uses; begins at a multiple of 64.
    pub arena: &'static mut [u8],
    /// The serial port.
    pub serial: serial::Serial,
    /// A counter of the processor's clock.
    pub counter: Counter,
}

impl Board {
    /// Takes the board over.
    ///
    /// # Safety
    /// Called once.
    unsafe fn take() -> Board {
        // SAFETY: the table gives a region of RAM that the linker does not know, and it is given away once.
        let arena = unsafe { core::slice::from_raw_parts_mut(ARENA.0 as *mut u8, ARENA.1) };
        Board {
            arena,
            serial: serial::Serial::new(SERIAL, REGISTERS),
            counter: Counter::start(),
        }
    }

    /// Runs a program on the board and ends with its status.
    pub fn run(program: impl FnOnce(Board) -> Result<(), &'static str>) -> ! {
        // SAFETY: whoever calls this never comes back to do it again.
        let board = unsafe { Board::take() };
        match program(board) {
            Ok(()) => exit(0),
            Err(what) => {
                println!("error: {what}");
                exit(1)
            }
        }
    }
}
