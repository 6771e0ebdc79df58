//! Tells a story: the model in flash goes on from a beginning, greedily, and the text appears on the host's console.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::fmt::{self, Write};

use board::{Board, Counter, LlffHeap, NAME, entry, print, println};
use inkstone_cpu::{Cpu, Isa, Team};
use inkstone_format::{File, SectionKind};
use inkstone_model::{Activations, Config, Core, Kv, Model, Op, Plan, Step};
use inkstone_text::{Detokenizer, Options, Tokenizer};

/// How the story begins.
const BEGINNING: &str = "Once upon a time";

/// Tokens of the whole story, at most.
const TOKENS: usize = 256;

/// Operations of a model's plan, at most.
type Ops = heapless::Vec<Op, 128>;

/// Turning text into tokens takes memory; running the model takes none of this.
#[global_allocator]
static HEAP: LlffHeap = LlffHeap::empty();

#[entry]
fn main() -> ! {
    Board::run(|board| tell(board))
}

fn tell(board: Board) -> Result<(), &'static str> {
    let file = File::parse(board::model()).map_err(|_| "the flash holds no .ink file")?;
    let model = Model::new(file).map_err(|_| "the file holds no model")?;
    let section = file
        .section(SectionKind::Tokenizer)
        .ok_or("the file has no tokenizer")?;
    let tokenizer = Tokenizer::parse(section).map_err(|_| "the tokenizer is damaged")?;
    let (heap, arena) = board.arena.split_at_mut(HEAP_BYTES);
    board::lend(&HEAP, heap);
    let mut story = Vec::new();
    tokenizer.encode(BEGINNING, Options::default(), &mut story);

    let plan = Plan::new(&model, CONFIG).map_err(|_| "the session cannot be planned")?;
    let mut ops = Ops::new();
    for op in plan.ops(&model) {
        ops.push(op).map_err(|_| "the model has too many layers")?;
    }
    println!(
        "{NAME}: {} KiB of flash hold the model, {} KiB of RAM the session",
        file.bytes().len() / 1024,
        plan.memory.arena / 1024
    );
    let work = multiplications(&ops);
    let cpu = Cpu::new(plan, ops, file.bytes(), arena, Isa::detect(), Team::alone());
    let mut session = Core::new(
        cpu.map_err(|_| "the arena is too small")?,
        [0; TOKENS],
        plan,
    );
    let mut text = Detokenizer::new(tokenizer);
    session
        .feed(&story)
        .map_err(|_| "the beginning is too long")?;
    for &token in &story {
        say(&mut text, token);
    }
    let mut pace = Pace::default();
    while session.tokens().len() < TOKENS {
        let before = board.counter.now();
        while session
            .step(CONFIG.batch as usize, None)
            .map_err(|_| "a step failed")?
            != Step::Ready
        {}
        let next = greatest(session.logits(0));
        pace.count(&board.counter, before);
        if Some(next) == tokenizer.eos() || Some(next) == tokenizer.bos() {
            break;
        }
        say(&mut text, next);
        session.feed(&[next]).map_err(|_| "a token cannot be fed")?;
    }
    println!(
        "\n{NAME}: {} instructions a token, {work} multiplications",
        pace.each()
    );
    Ok(())
}

/// Bytes of the heap, at the beginning of the board's arena.
const HEAP_BYTES: usize = 32 * 1024;

const CONFIG: Config = Config {
    context: TOKENS as u32,
    sequences: 1,
    batch: 8,
    logits: 1,
    threads: 1,
    rewind: 0,
    kv: Kv::F16,
    activations: Activations::Int8,
    streamed: false,
};

/// Multiplications of a token's matrices, attention aside.
fn multiplications(ops: &[Op]) -> usize {
    let linear = ops.iter().filter_map(|op| match op {
        Op::Linear(linear) => Some(linear),
        _ => None,
    });
    linear
        .flat_map(|linear| linear.parts())
        .map(|part| part.weight.rows * part.weight.inputs)
        .sum()
}

/// The first of the greatest logits.
fn greatest(logits: &[f32]) -> u32 {
    let better = |best: usize, index: usize| {
        if logits[index] > logits[best] {
            index
        } else {
            best
        }
    };
    (0..logits.len()).reduce(better).unwrap_or(0) as u32
}

/// The console, for text that comes in pieces.
struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        print!("{text}");
        Ok(())
    }
}

fn say(text: &mut Detokenizer<'_>, token: u32) {
    text.push(token, &mut Console)
        .expect("the console takes everything");
}

/// Time of the tokens behind the first, which the beginning is part of.
#[derive(Default)]
struct Pace {
    tokens: u64,
    nanoseconds: u64,
}

impl Pace {
    fn count(&mut self, counter: &Counter, before: u32) {
        if self.tokens > 0 {
            self.nanoseconds += counter.since(before);
        }
        self.tokens += 1;
    }

    /// Nanoseconds of a token: instructions, where QEMU counts so.
    fn each(&self) -> u64 {
        self.nanoseconds / self.tokens.saturating_sub(1).max(1)
    }
}
