//! `proof MODEL.ink [--one]`: the hash of every case on each instruction set that this processor has, a line each.
//! With `--one`, the best instruction set alone and the whole prompt at once.

#![allow(clippy::print_stdout)]

use core::error::Error;

use inkstone_cpu::{ISAS, Isa};
use inkstone_model::Op;
use inkstone_proof::{cases, model, plan, run};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: proof MODEL.ink [--one]")?;
    let one = std::env::args().nth(2).is_some();
    let wanted = |isa: Isa| isa.available() && (!one || isa == Isa::detect());
    let bytes = std::fs::read(path)?;
    let model = model(&bytes)?;
    for (name, isa) in ISAS.iter().filter(|(_, isa)| wanted(*isa)) {
        for (kv, case) in cases().filter(|(_, case)| !one || case.chunk == 64) {
            let mut room = vec![0; plan(&model, case)?.memory.arena + 63];
            let start = room.as_ptr().align_offset(64);
            let hash = run::<Vec<Op>>(&model, case, *isa, &mut room[start..], &mut || {})?;
            println!("{name} {kv} {} {hash}", case.chunk);
        }
    }
    Ok(())
}
