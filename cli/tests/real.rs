//! The commands on real models, which are no part of the repository.

use core::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use inkstone_tests::needs;
use libtest_mimic::Failed;
use serde_json::Value;

/// What is known of a model that may be there.
struct Known {
    file: &'static str,
    chats: bool,
    prompt: &'static str,
    /// What the answer must hold.
    answer: &'static str,
}

static KNOWN: &[Known] = &[
    Known {
        file: "smollm2-135m.gguf",
        chats: true,
        prompt: "What is gravity?",
        answer: "Gravity is a fundamental concept in physics",
    },
    Known {
        file: "gemma3-270m.gguf",
        chats: false,
        prompt: "One, two, three, four,",
        answer: "five",
    },
];

fn main() {
    let mut trials = Vec::new();
    for known in KNOWN {
        let model = needs::model(known.file);
        let present = model.is_some();
        let named = |claim: &str| format!("{} {claim}", known.file);
        let path = model.clone();
        trials.push(needs::trial(
            named("converts without loss"),
            present,
            "models",
            move || passed(converts_without_loss(&path.unwrap_or_default())),
        ));
        trials.push(needs::trial(
            named("answers"),
            present,
            "models",
            move || passed(answers(known, &model.unwrap_or_default())),
        ));
    }
    needs::run(trials);
}

fn converts_without_loss(model: &Path) -> Result<(), Box<dyn Error>> {
    let folder = Folder::new("lossless")?;
    let to = folder.0.join("x.ink");
    let report = folder.run(&["convert", text(model)?, "-o", text(&to)?])?;
    let compared = folder.run(&["compare", text(model)?, text(&to)?])?;
    let tensors = report["tensors"].as_array().map_or(0, Vec::len);
    equal(&compared["equal"], &tensors.into())?;
    let shown = folder.run(&["inspect", text(&to)?, "--verify"])?;
    equal(&shown["verified"], &true.into())
}

fn answers(known: &Known, model: &Path) -> Result<(), Box<dyn Error>> {
    let folder = Folder::new("answers")?;
    let answer = folder.run(&["run", text(model)?, known.prompt, "-n", "24"])?;
    let said = answer["text"].as_str().unwrap_or_default();
    if !said.contains(known.answer) {
        return Err(format!("it said {said:?}").into());
    }
    let shown = folder.run(&["inspect", text(model)?])?;
    equal(&shown["chat_template"], &known.chats.into())
}

/// A cache folder that is deleted at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Result<Self, Box<dyn Error>> {
        use core::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let unique = format!(
            "inkstone-{name}-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn run(&self, arguments: &[&str]) -> Result<Value, Box<dyn Error>> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inkstone"));
        let out = command
            .args(arguments)
            .arg("--json")
            .env("INKSTONE_HOME", &self.0)
            .output()?;
        if !out.status.success() {
            return Err(String::from_utf8_lossy(&out.stderr).into());
        }
        Ok(serde_json::from_slice(&out.stdout)?)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be deleted stays where the system keeps such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn text(path: &Path) -> Result<&str, Box<dyn Error>> {
    path.to_str().ok_or_else(|| "the path is not UTF-8".into())
}

fn equal(found: &Value, wanted: &Value) -> Result<(), Box<dyn Error>> {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{found} is not {wanted}").into())
}

fn passed(result: Result<(), Box<dyn Error>>) -> Result<(), Failed> {
    result.map_err(|error| error.to_string().into())
}
