//! What the compiler made: each instruction set's kernels hold its instruction, only attention's exact products are fused
//! with their sums, no libm is called.

mod shared;

use inkstone_cpu::{Cpu, Isa, KERNELS, Kernel, Team};
use inkstone_model::{Activations, Backend, Config, Kv, Wanted};
use inkstone_quant::FORMATS;
use inkstone_tests::needs;
use libtest_mimic::{Failed, Trial};
use std::env::consts::ARCH;
use std::path::PathBuf;
use std::process::Command;

use shared::{Arena, Shape, batch, plan};

/// Functions of C whose results differ from platform to platform.
static LIBM: &[&str] = &[
    "fmaf", "fma", "expf", "exp2f", "logf", "sinf", "cosf", "sincosf", "tanf", "tanhf", "powf",
    "erff", "exp", "log", "pow",
];

/// Instructions that multiply and add with one rounding: mnemonics hold these, whatever they begin or end with.
static FUSED: &[&str] = &["fmadd", "fmsub", "fnmadd", "fnmsub", "fmla", "fmls"];

/// All codes of weights.
static ALL: &[&str] = &["i8", "i4", "u4", "nl4", "i5", "u5", "i6"];

/// What the kernels of an instruction set hold.
struct Proof {
    architecture: &'static str,
    isa: &'static str,
    /// The codes whose kernels hold one of the instructions.
    codes: &'static [&'static str],
    instructions: &'static [&'static str],
    /// Registers they work on.
    registers: &'static str,
}

static PROOFS: &[Proof] = &[
    Proof {
        architecture: "x86_64",
        isa: "amx",
        codes: ALL,
        instructions: &["tdpbssd"],
        registers: "%tmm",
    },
    Proof {
        architecture: "x86_64",
        isa: "avx512",
        codes: ALL,
        instructions: &["vpdpbusd"],
        registers: "%zmm",
    },
    Proof {
        architecture: "x86_64",
        isa: "avx2",
        codes: ALL,
        instructions: &["vpmaddubsw", "vpmaddwd"],
        registers: "%ymm",
    },
    Proof {
        architecture: "aarch64",
        isa: "neon",
        codes: ALL,
        instructions: &["smlal2"],
        registers: ".8h",
    },
    Proof {
        architecture: "aarch64",
        isa: "dotprod",
        codes: ALL,
        instructions: &["sdot"],
        registers: ".4b[",
    },
    Proof {
        architecture: "aarch64",
        isa: "i8mm",
        codes: &["i4", "u4", "nl4"],
        instructions: &["smmla"],
        registers: ".16b",
    },
    Proof {
        architecture: "aarch64",
        isa: "i8mm",
        codes: &["i8"],
        instructions: &["usdot"],
        registers: ".4b[",
    },
];

fn main() {
    let (objdump, nm) = (tool("objdump").is_some(), tool("nm").is_some());
    let mut trials = vec![
        Trial::test("this_program_runs_a_model", runs),
        needs::trial("no_function_of_libm_is_called", nm, "programs", no_libm),
        needs::trial(
            "only_exact_products_are_fused_with_a_sum",
            objdump,
            "programs",
            few_fused,
        ),
    ];
    for proof in PROOFS.iter().filter(|proof| proof.architecture == ARCH) {
        let name = format!(
            "kernels_hold_their_instruction {} {}",
            proof.isa, proof.instructions[0]
        );
        trials.push(needs::trial(name, objdump, "programs", || holds(proof)));
    }
    needs::run(trials);
}

/// Links the backend into this program, whose machine code the other trials read.
fn runs() -> Result<(), Failed> {
    let file = Shape::rich(&FORMATS[0]).file(5);
    let (plan, ops) = plan(&file, CONFIG);
    let arena = Arena::new(plan.memory.arena);
    let mut cpu = Cpu::new(plan, ops, file, arena, Isa::detect(), Team::alone())?;
    let ran = cpu.run(&batch(&[1, 2, 3], 0, Wanted::All));
    ran.map_err(|fault| format!("{fault:?}").into())
}

const CONFIG: Config = Config {
    context: 64,
    sequences: 1,
    batch: 4,
    logits: 4,
    streamed: false,
    threads: 1,
    rewind: 0,
    kv: Kv::F16,
    activations: Activations::Int8,
};

fn no_libm() -> Result<(), Failed> {
    let nm = tool("nm").ok_or("it was there a moment ago")?;
    let symbols = output(Command::new(nm).arg("--undefined-only").arg(program()?))?;
    let names = symbols
        .lines()
        .filter_map(|line| line.trim().rsplit(' ').next()?.split('@').next());
    let called: Vec<&str> = names.filter(|name| LIBM.contains(name)).collect();
    if called.is_empty() {
        Ok(())
    } else {
        Err(format!("called: {called:?}").into())
    }
}

/// There are at least as many functions with the instruction as kernels that hold it.
fn holds(proof: &Proof) -> Result<(), Failed> {
    let isa = Isa::by_name(proof.isa).ok_or("the instruction set has no name")?;
    let here = |kernel: &&Kernel| kernel.isa == isa && proof.codes.contains(&kernel.codes.name);
    let kernels = KERNELS.iter().filter(here).count();
    let says = |line: &str| {
        line.contains(proof.registers) && proof.instructions.iter().any(|i| line.contains(i))
    };
    let listing = listing()?;
    let functions = listing
        .split("\n\n")
        .filter(|function| function.contains("inkstone_cpu") && function.lines().any(says));
    let functions = functions.count();
    if kernels == proof.codes.len() && functions >= kernels {
        return Ok(());
    }
    let what = proof.instructions;
    Err(format!("{kernels} kernels, {functions} functions with {what:?}").into())
}

/// Where work written once is compiled for an instruction set.
const ONCE: &str = "inkstone_cpu4simd3run";

/// Instruction sets of an architecture that work written once is compiled for, with fused instructions.
const FUSE: usize = 2;

/// Query heads that attention works on together: one to four, each a function of its own.
const HEADS: usize = 4;

/// Attention has fused instructions, so many functions for each instruction set; no other of our functions has.
fn few_fused() -> Result<(), Failed> {
    let listing = listing()?;
    let fused = |line: &&str| {
        let mnemonic = line.split_whitespace().next().unwrap_or_default();
        FUSED.iter().any(|fused| mnemonic.contains(fused))
    };
    let ours = listing.split("\n\n").filter(|f| {
        f.lines()
            .next()
            .is_some_and(|name| name.contains("inkstone"))
    });
    let found: Vec<&str> = ours
        .filter(|function| function.lines().skip(1).any(|line| fused(&line)))
        .filter_map(|function| function.lines().next())
        .collect();
    if found.len() == FUSE * HEADS && found.iter().all(|name| name.contains(ONCE)) {
        Ok(())
    } else {
        Err(format!("in {found:?}").into())
    }
}

/// This program, disassembled.
fn listing() -> Result<String, Failed> {
    let arguments = ["--disassemble", "--no-show-raw-insn", "--no-addresses"];
    let objdump = tool("objdump").ok_or("it was there a moment ago")?;
    output(Command::new(objdump).args(arguments).arg(program()?))
}

/// A program that reads machine code: made for this architecture where this is a foreign one, emulated.
fn tool(name: &str) -> Option<PathBuf> {
    needs::program(&format!("{ARCH}-linux-gnu-{name}")).or_else(|| needs::program(name))
}

fn program() -> Result<PathBuf, Failed> {
    Ok(std::env::current_exe()?)
}

fn output(command: &mut Command) -> Result<String, Failed> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
