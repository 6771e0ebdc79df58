//! The `inkstone` program from outside: no network for a file, and no processor of this decade.

mod support;

use inkstone_tests::needs;
use libtest_mimic::Failed;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The oldest processor that the program starts on, as QEMU names it.
const OLDEST: &str = "Nehalem";

fn main() {
    let built = program().is_file();
    let emulated =
        built && cfg!(target_arch = "x86_64") && needs::program("qemu-x86_64-static").is_some();
    needs::run(vec![
        needs::trial(
            "running_a_file_opens_no_internet_socket",
            built && needs::program("strace").is_some(),
            "programs",
            offline,
        ),
        needs::trial(
            "an_old_processor_computes_the_same_logits",
            emulated,
            "programs",
            old_processor,
        ),
    ]);
}

fn offline() -> Result<(), Failed> {
    let model = model("offline")?;
    let trace = support::folder().join("sockets.txt");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-e", "trace=socket,connect", "-o"])
        .arg(&trace);
    command
        .arg(program())
        .arg("run")
        .arg(&model)
        .args(["tea", "-n", "4"]);
    output(command)?;
    let calls = fs::read_to_string(trace)?;
    fs::remove_file(model)?;
    if calls.contains("AF_INET") {
        Err(calls.into())
    } else {
        Ok(())
    }
}

fn old_processor() -> Result<(), Failed> {
    let model = model("old")?;
    let ask = |command: &mut Command| {
        command
            .arg("logits")
            .arg(&model)
            .args(["--tokens", "1,2,3", "--all", "--hash"]);
    };
    let mut here = Command::new(program());
    ask(&mut here);
    let mut there = Command::new("qemu-x86_64-static");
    there.args(["-cpu", OLDEST]).arg(program());
    ask(&mut there);
    let (here, there) = (output(here)?, output(there)?);
    fs::remove_file(&model)?;
    if here == there {
        Ok(())
    } else {
        Err(format!("{there} on {OLDEST}, {here} here").into())
    }
}

/// A tiny golden model with a tokenizer, converted.
fn model(name: &str) -> Result<PathBuf, Failed> {
    let from = needs::workspace().join("tests/golden/archs/llama");
    let to = support::folder().join(format!("binary-{name}.ink"));
    support::convert_to(&from, &to);
    Ok(to)
}

/// The program that cargo built beside this test; it is there when the whole workspace is tested.
fn program() -> PathBuf {
    let here = std::env::current_exe().expect("a running program has a path");
    let folder = here
        .ancestors()
        .nth(2)
        .expect("tests lie in a folder of the target folder");
    folder.join("inkstone")
}

fn output(mut command: Command) -> Result<String, Failed> {
    let output = command.stdin(std::process::Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
