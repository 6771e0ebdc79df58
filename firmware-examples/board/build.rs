//! Turns the row of `boards.txt` that the variable `BOARD` names into linker scripts and constants.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-env-changed=BOARD");
    println!("cargo::rerun-if-changed=../boards.txt");
    let name = env::var("BOARD").expect("BOARD names a row of boards.txt");
    let table = fs::read_to_string("../boards.txt").expect("boards.txt lies beside the crate");
    let row: Vec<&str> = table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split('|').map(str::trim).collect())
        .find(|row: &Vec<&str>| row[0] == name)
        .unwrap_or_else(|| panic!("boards.txt has no board {name}"));
    assert_eq!(
        env::var("TARGET").as_deref(),
        Ok(row[1]),
        "build {name} with --target {}",
        row[1]
    );
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    fs::write(
        out.join("memory.x"),
        memory(row[4], row[5], row[1].starts_with("riscv")),
    )
    .and_then(|()| fs::write(out.join("row.rs"), constants(&row)))
    .expect("OUT_DIR can be written");
    println!("cargo::rustc-link-search={}", out.display());
}

/// The regions of the runtime crates' linker scripts.
fn memory(code: &str, ram: &str, riscv: bool) -> String {
    let (code, ram) = (pair(code), pair(ram));
    let regions = format!(
        "MEMORY {{\n  FLASH : ORIGIN = {}, LENGTH = {}\n  RAM : ORIGIN = {}, LENGTH = {}\n}}\n",
        code.0, code.1, ram.0, ram.1
    );
    let aliases = [
        ("TEXT", "FLASH"),
        ("RODATA", "FLASH"),
        ("DATA", "RAM"),
        ("BSS", "RAM"),
        ("HEAP", "RAM"),
        ("STACK", "RAM"),
    ];
    let aliases = aliases.map(|(region, of)| format!("REGION_ALIAS(\"REGION_{region}\", {of});\n"));
    if riscv {
        regions + &aliases.concat()
    } else {
        regions
    }
}

fn constants(row: &[&str]) -> String {
    let region = |name: &str, field: &str| {
        let (origin, length) = pair(field);
        let kib = length.strip_suffix('K').expect("lengths are in KiB");
        format!("const {name}: (usize, usize) = ({origin}, {kib} * 1024);\n")
    };
    let (kind, registers) = pair(row[8]);
    format!(
        "/// The board.\npub const NAME: &str = {:?};\n{}{}const SERIAL: serial::Kind = serial::{};\n\
         const REGISTERS: usize = {registers};\n/// MHz of the counter.\npub const MEGAHERTZ: u32 = {};\n",
        row[0],
        region("ARENA", row[6]),
        region("MODEL", row[7]),
        kind.to_uppercase(),
        row[9],
    )
}

fn pair(field: &str) -> (&str, &str) {
    field
        .split_once(',')
        .expect("two values with a comma between them")
}
