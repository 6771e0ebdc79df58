//! Runs the model in flash as every other target does and sends what came out over the serial port, a frame a case.
//!
//! There is no allocator: the arena of the board is all the memory a session has.
#![no_std]
#![no_main]

use board::{Board, NAME, entry};
use inkstone_cpu::Isa;
use inkstone_model::{Digest, Op};
use inkstone_proof::{ANSWER, Case, FRAME_MAX, Report, cases, model, run};

/// Operations of a model's plan, at most.
type Ops = heapless::Vec<Op, 128>;

#[entry]
fn main() -> ! {
    Board::run(|board| selftest(board))
}

fn selftest(mut board: Board) -> Result<(), &'static str> {
    let mut failed = false;
    for (kv, case) in cases() {
        let found = prove(&mut board, case);
        failed |= found.is_none();
        let report = Report {
            target: NAME,
            kv,
            chunk: case.chunk,
            hash: found.map(|(hash, _)| hash.0),
            instructions: found.map(|(_, each)| each),
        };
        let mut frame = [0; FRAME_MAX];
        let frame =
            postcard::to_slice_cobs(&report, &mut frame).map_err(|_| "a frame is too short")?;
        board.serial.send(frame);
    }
    if failed {
        Err("a case could not be run")
    } else {
        Ok(())
    }
}

/// The hash of a case, and nanoseconds of a token of the answer: instructions, where QEMU counts so.
fn prove(board: &mut Board, case: Case) -> Option<(Digest, u64)> {
    let model = model(board::model()).map_err(say).ok()?;
    let (mut spent, mut before) = (0, None);
    let mut tick = || {
        spent += before.map_or(0, |before| board.counter.since(before));
        before = Some(board.counter.now());
    };
    let hash = run::<Ops>(&model, case, Isa::detect(), board.arena, &mut tick);
    let hash = hash.map_err(say).ok()?;
    Some((hash, spent / ANSWER as u64))
}

fn say(error: inkstone_proof::Error) {
    board::println!("{NAME}: {error}");
}
