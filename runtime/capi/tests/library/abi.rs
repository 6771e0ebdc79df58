//! The binary interface: what C makes of the header is what Rust has, and what `abi.txt` has recorded.

use super::*;

/// What a caller is compiled against. Lines are only ever added: see `scripts/abi.sh`.
const ABI: &str = include_str!("../../abi.txt");

/// The structs of the header and the names of their members.
fn structs() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut within = false;
    for line in HEADER.lines() {
        if let Some(name) = line.strip_prefix("typedef struct ink_") {
            within = line.ends_with('{');
            let name = name.trim_end_matches(" {");
            let start = HEADER.find(&format!("ink_{name}")).unwrap();
            found.push((&HEADER[start..start + 4 + name.len()], Vec::new()));
        }
        within &= !line.starts_with('}');
        if let (true, Some(member), Some((_, members))) = (within, member(line), found.last_mut()) {
            members.push(member);
        }
    }
    found.retain(|(_, members)| !members.is_empty());
    found
}

/// The member that a line declares.
fn member(line: &'static str) -> Option<&'static str> {
    let code = line.split("/*").next()?.trim();
    if !line.starts_with("  ") || !code.ends_with(';') {
        return None;
    }
    let (before, after) = code.split_once("(*").unwrap_or((code, code));
    let name = if before.len() < code.len() {
        after.split(')').next()?
    } else {
        code.trim_end_matches(';').split('[').next()?
    };
    name.rsplit([' ', '*']).next()
}

/// The numbers of the header's enums.
fn numbers() -> impl Iterator<Item = &'static str> {
    let words = HEADER.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let mut seen = std::collections::BTreeSet::new();
    words.filter(move |word| {
        let is_number = HEADER.contains(&format!("{word} = "));
        word.starts_with("INK_") && is_number && seen.insert(*word)
    })
}

/// What C says of the header: where members stand, the numbers, and how functions are declared.
fn said_by_c() -> (String, Vec<(String, usize)>) {
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("abi.c"), folder.path().join("abi"));
    let includes = "#include <inkstone.h>\n#include <stdio.h>\n#include <stddef.h>\n";
    let mut text = format!("{includes}int main(void) {{\n");
    for (name, members) in structs() {
        for member in members {
            let place = format!("(unsigned)offsetof({name}, {member})");
            text += &format!("printf(\"{name}.{member} at %u\\n\", {place});\n");
        }
    }
    for number in numbers() {
        text += &format!("printf(\"{number} = %d\\n\", (int){number});\n");
    }
    for (name, _) in structs() {
        text += &format!("fprintf(stderr, \"{name} %u\\n\", (unsigned)sizeof({name}));\n");
    }
    fs::write(&source, text + "return 0;\n}\n").unwrap();
    cc(&source, &program, &[]);
    let output = Command::new(&program).output().unwrap();
    let mut abi = String::from_utf8(output.stdout).unwrap();
    for function in prototypes() {
        abi += &function;
        abi.push('\n');
    }
    let sizes = String::from_utf8(output.stderr).unwrap();
    let sizes = sizes.lines().map(|line| {
        let (name, size) = line.split_once(' ').unwrap();
        (name.to_owned(), size.parse().unwrap())
    });
    (abi, sizes.collect())
}

/// Functions as they are declared, a line each.
fn prototypes() -> Vec<String> {
    let lines: Vec<&str> = HEADER.lines().collect();
    let names = declared();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let is_function =
            |name: &&&str| line.contains(&format!("{name}(")) && !line.starts_with(' ');
        if names.iter().find(is_function).is_none() {
            continue;
        }
        let mut whole = String::new();
        for line in &lines[at..] {
            whole += line.trim();
            whole.push(' ');
            if line.contains(");") {
                break;
            }
        }
        found.push(whole.split(");").next().unwrap().to_owned() + ");");
    }
    found.sort();
    found
}

#[test]
fn c_and_rust_and_the_record_see_the_same() {
    let (abi, sizes) = said_by_c();
    let record = Path::new(env!("CARGO_MANIFEST_DIR")).join("abi.txt");
    if std::env::var_os("INKSTONE_BLESS").is_some() {
        return fs::write(record, abi).unwrap();
    }
    assert_eq!(abi, ABI, "INKSTONE_BLESS=1 records what was added");
    assert_eq!(sizes.len(), LAYOUTS.len());
    for (name, size) in sizes {
        let layout = LAYOUTS.iter().find(|layout| layout.0 == name);
        let (_, ours, members) = layout.unwrap_or_else(|| panic!("Rust has no {name}"));
        assert_eq!(*ours, size, "{name}");
        for (member, offset) in *members {
            let line = format!("{name}.{member} at {offset}\n");
            assert!(abi.contains(&line), "C has no {line}");
        }
        let of_struct = format!("{name}.");
        let lines = abi.lines().filter(|line| line.starts_with(&of_struct));
        assert_eq!(lines.count(), members.len(), "{name}");
    }
    let statuses = [
        ("INK_OK", OK),
        ("INK_TOO_SMALL", TOO_SMALL),
        ("INK_INTERNAL", INTERNAL),
        ("INK_IO", IO),
        ("INK_CANCELLED", CANCELLED),
        ("INK_INVALID", INVALID),
        ("INK_FINISHED", FINISHED),
        ("INK_SHIFTED", SHIFTED),
        ("INK_LOG_INFO", LOG_INFO),
    ];
    for (name, number) in statuses {
        assert!(abi.contains(&format!("{name} = {number}\n")), "{name}");
    }
}
