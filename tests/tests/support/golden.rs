//! Files of `golden/`: a name, a colon and what it must be, a line each.

use inkstone_tests::needs;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// What a file says.
pub(crate) fn read(name: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path(name)).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.rsplit_once(": "));
    lines
        .map(|(name, hash)| (name.into(), hash.into()))
        .collect()
}

/// Writes what was found over what a file says.
pub(crate) fn renew(name: &str, found: impl IntoIterator<Item = (String, String)>) {
    let mut all = read(name);
    all.extend(found);
    let lines: String = all
        .iter()
        .map(|(name, hash)| format!("{name}: {hash}\n"))
        .collect();
    fs::write(path(name), lines).expect("the repository can be written");
}

fn path(name: &str) -> PathBuf {
    needs::workspace().join("tests/golden").join(name)
}
