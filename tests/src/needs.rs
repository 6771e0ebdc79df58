//! Tests that need data which is not in the repository: found, or listed as ignored by name.
//!
//! ```no_run
//! use inkstone_tests::needs;
//! let pairs = needs::materials("tokenizers/pairs");
//! let trials = vec![needs::trial("pairs_agree", pairs.is_some(), "materials", move || {
//!     let folder = pairs.ok_or("absent")?;
//!     Ok(drop(std::fs::read_dir(folder)?))
//! })];
//! needs::run(trials);
//! ```

use libtest_mimic::{Arguments, Failed, Trial};
use std::env;
use std::path::{Path, PathBuf};

/// The file or folder `relative` of the test materials, if it is there.
///
/// The materials lie where `INKSTONE_MATERIALS` says, or in `../shared/materials` beside the workspace.
pub fn materials(relative: &str) -> Option<PathBuf> {
    existing("INKSTONE_MATERIALS", "../shared/materials", relative)
}

/// The model file `name`, if it is there: in `INKSTONE_MODELS`, or in `models` of the workspace.
pub fn model(name: &str) -> Option<PathBuf> {
    existing("INKSTONE_MODELS", "models", name)
}

/// The program `name`, if this machine has it; WebAssembly could start none.
pub fn program(name: &str) -> Option<PathBuf> {
    if cfg!(target_family = "wasm") {
        return None;
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let paths = env::split_paths(&folders).map(|folder| folder.join(name));
    paths.into_iter().find(|path| path.is_file())
}

/// A test that is ignored, by name, where what it needs is not `present`.
///
/// `what` is the kind of thing it needs: `"materials"`, `"models"` or `"programs"`.
/// Absence is failure where `INKSTONE_REQUIRE`, a list with commas, names `what`.
pub fn trial(
    name: impl Into<String>,
    present: bool,
    what: &'static str,
    test: impl FnOnce() -> Result<(), Failed> + Send + 'static,
) -> Trial {
    if present {
        return Trial::test(name, test);
    }
    let absent = move || Err(format!("the {what} it needs are absent").into());
    Trial::test(name, absent)
        .with_kind(format!("needs {what}"))
        .with_ignored_flag(!required(what))
}

/// Runs the trials as `cargo test` would and ends the process with its exit code.
pub fn run(trials: Vec<Trial>) -> ! {
    libtest_mimic::run(&Arguments::from_args(), trials).exit()
}

/// The root folder of the workspace.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("the package lies in a folder of the workspace")
        .to_path_buf()
}

fn existing(variable: &str, default: &str, relative: &str) -> Option<PathBuf> {
    let folder = env::var_os(variable).map_or_else(|| workspace().join(default), PathBuf::from);
    let path = folder.join(relative);
    path.exists().then_some(path)
}

fn required(what: &str) -> bool {
    env::var("INKSTONE_REQUIRE").is_ok_and(|list| list.split(',').any(|word| word.trim() == what))
}
