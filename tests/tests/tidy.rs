//! The rules of ARCHITECTURE.md that a program can check.

use inkstone_tests::needs::workspace;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `unsafe` may stand: kernels and the team, the border to C, the one mmap function, what is never shipped.
static UNSAFE: &[&str] = &[
    "runtime/cpu/src/",
    "runtime/capi/",
    "runtime/engine/src/map.rs",
    "tests/",
    "benches/",
    "firmware-examples/board/",
];

/// What a file of the repository must not name: folders of one machine, hosts of registries.
static PRIVATE: &[&str] = &[
    concat!("/", "root/"),
    concat!("/", "work/"),
    concat!("/tmp", "/t-"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("files.python", "hosted.org"),
    concat!("pypi.org", "/simple"),
    concat!("deb.debian", ".org"),
];

/// What holds no source.
static SKIPPED: &[&str] = &[".git", "target", "models", "corpus", "artifacts"];

#[test]
fn crates_know_whom_the_table_says() {
    let table = table_of_crates();
    let mut wrong = Vec::new();
    for package in packages() {
        let name = own(&package["name"]).expect("every member is one of ours");
        let dependencies = package["dependencies"].as_array();
        let dependencies = dependencies.expect("cargo lists dependencies").iter();
        let ours = dependencies.filter(|d| d["kind"] != "dev");
        let knows: BTreeSet<String> = ours.filter_map(|d| own(&d["name"])).collect();
        match table.get(&name) {
            Some(None) => {}
            Some(Some(listed)) if *listed == knows => {}
            listed => wrong.push(format!("{name} knows {knows:?}, the table says {listed:?}")),
        }
    }
    assert!(
        wrong.is_empty(),
        "ARCHITECTURE.md and Cargo.toml: {wrong:#?}"
    );
}

/// Whom each crate knows, by the table of ARCHITECTURE.md; `None` where that is anything.
fn table_of_crates() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md")).expect("it is there");
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells[1].trim_matches('`').rsplit('/').next()?.to_owned();
        let knows = cells[3].split(' ').filter(|word| *word != "–");
        let knows = knows.map(str::to_owned).collect();
        Some((name, (cells[3] != "anything").then_some(knows)))
    };
    rows.filter_map(row).collect()
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    for package in packages() {
        let manifest = package["manifest_path"]
            .as_str()
            .expect("cargo gives the path");
        let text = fs::read_to_string(manifest).unwrap();
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{manifest} sets its own lints"
        );
    }
}

#[test]
fn unsafe_stands_only_where_it_may() {
    let mut wrong = Vec::new();
    for (name, text) in files_ending(".rs") {
        if UNSAFE.iter().any(|allowed| name.starts_with(allowed)) || name.contains("/tests/") {
            continue;
        }
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| says_unsafe(line));
        wrong.extend(lines.map(|(index, _)| format!("{name}:{}", index + 1)));
    }
    assert!(
        wrong.is_empty(),
        "unsafe outside kernels, mmap and tests: {wrong:?}"
    );
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let files = files_ending(".rs");
    let silent = files
        .iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(name, _)| name);
    let silent: Vec<_> = silent.collect();
    assert!(
        silent.is_empty(),
        "line 1 is not a `//!` sentence: {silent:?}"
    );
}

#[test]
fn no_file_names_a_machine() {
    let mut wrong = Vec::new();
    for (name, text) in files_ending("") {
        wrong.extend(
            PRIVATE
                .iter()
                .filter(|word| text.contains(**word))
                .map(|word| format!("{name}: {word}")),
        );
    }
    assert!(
        wrong.is_empty(),
        "names of one machine or of a registry's host: {wrong:?}"
    );
}

fn packages() -> Vec<Value> {
    let arguments = [
        "metadata",
        "--no-deps",
        "--offline",
        "--format-version",
        "1",
    ];
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(workspace())
        .output();
    let output = output.expect("cargo runs this test, so it can run again");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    serde_json::from_value(metadata["packages"].take()).expect("packages are a list")
}

/// The name of a crate of ours without its prefix.
fn own(name: &Value) -> Option<String> {
    Some(name.as_str()?.strip_prefix("inkstone-")?.to_string())
}

fn says_unsafe(line: &str) -> bool {
    let code = line.split("//").next().unwrap_or_default();
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| word == "unsafe")
}

/// The text files of the repository: their names from its root, with `/`, and what they hold.
fn files_ending(suffix: &str) -> Vec<(String, String)> {
    let root = workspace();
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    let names = paths.iter().filter_map(|path| {
        let name = path.strip_prefix(&root).ok()?.to_str()?.replace('\\', "/");
        (name.ends_with(suffix)).then(|| Some((name, fs::read_to_string(path).ok()?)))?
    });
    names.collect()
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the repository can be read") {
        let path = entry.expect("the repository can be read").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        // In a worktree `.git` is a file that names a folder.
        if SKIPPED.contains(&name) {
            continue;
        }
        if path.is_dir() && !path.is_symlink() {
            walk(&path, paths);
        } else {
            paths.push(path);
        }
    }
}
