//! What the compiler made: each instruction set's kernels hold its instruction, and no platform's libm is called.

mod support;

use inkstone_cpu::{Isa, KERNELS};
use inkstone_engine::SessionConfig;
use inkstone_tests::needs;
use libtest_mimic::{Failed, Trial};
use std::process::Command;

/// Functions of C whose results differ from platform to platform.
static LIBM: &[&str] = &[
    "fmaf", "fma", "expf", "exp2f", "logf", "sinf", "cosf", "sincosf", "tanf", "tanhf", "powf",
    "erff", "exp", "log", "pow",
];

/// An instruction set, an instruction of its kernels, the registers it works on.
static PROOFS: &[(&str, &[&str], &str)] = &[
    ("avx512", &["vpdpbusd"], "%zmm"),
    ("avx2", &["vpmaddubsw", "vpmaddwd"], "%ymm"),
];

fn main() {
    let x86 = cfg!(target_arch = "x86_64") && needs::program("objdump").is_some();
    let mut trials = vec![
        Trial::test("this_program_runs_a_model", runs),
        needs::trial(
            "no_function_of_libm_is_called",
            needs::program("nm").is_some(),
            "programs",
            no_libm,
        ),
    ];
    for &(isa, instructions, registers) in PROOFS {
        let name = format!("kernels_hold_their_instruction {isa}");
        trials.push(needs::trial(name, x86, "programs", move || {
            holds(isa, instructions, registers)
        }));
    }
    needs::run(trials);
}

/// Links the engine into this program, whose machine code the other trials read.
fn runs() -> Result<(), Failed> {
    let (name, recipe) = support::recipes().last().ok_or("FORMATS is not empty")?;
    let model = support::tiny(name, &recipe);
    let config = SessionConfig {
        device: support::DEVICE.into(),
        context: Some(64),
        ..SessionConfig::default()
    };
    let hash = support::hash_of_last(&model, &config, &[1, 2, 3], 1);
    if hash.starts_with("n1:") {
        Ok(())
    } else {
        Err(hash.into())
    }
}

fn no_libm() -> Result<(), Failed> {
    let symbols = output(Command::new("nm").arg("--undefined-only").arg(program()?))?;
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

/// There are at least as many functions with the instruction as kernels of the instruction set.
fn holds(isa: &str, instructions: &[&str], registers: &str) -> Result<(), Failed> {
    let isa = Isa::by_name(isa).ok_or("the instruction set has no name")?;
    let kernels = KERNELS.iter().filter(|kernel| kernel.isa == isa).count();
    let arguments = ["--disassemble", "--no-show-raw-insn", "--no-addresses"];
    let listing = output(Command::new("objdump").args(arguments).arg(program()?))?;
    let mut functions = 0;
    for function in listing.split("\n\n") {
        let says =
            |line: &str| line.contains(registers) && instructions.iter().any(|i| line.contains(i));
        functions += usize::from(function.contains("inkstone_cpu") && function.lines().any(says));
    }
    if kernels > 0 && functions >= kernels {
        return Ok(());
    }
    Err(format!("{kernels} kernels, {functions} functions with {instructions:?}").into())
}

fn program() -> Result<std::path::PathBuf, Failed> {
    Ok(std::env::current_exe()?)
}

fn output(command: &mut Command) -> Result<String, Failed> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
