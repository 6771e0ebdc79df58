//! The thesis: from one file, servers, phones, browsers and microcontrollers print the same logits.
//!
//! Every target runs `inkstone-proof`: 64 tokens of a prompt in chunks of 1, 17 and 64, then 64 greedy ones, with keys
//! and values in f16 and in int8; `INKSTONE_FULL=1` leaves nothing out. `golden/everywhere.txt` holds the hash of all
//! logits of a model and a stored form; `INKSTONE_BLESS=1` writes it anew, from this processor. Other targets are programs that `scripts/everywhere.sh`
//! builds into the folder `INKSTONE_TARGETS`.

mod support;

use inkstone_converter::convert::{Options, Weights};
use inkstone_converter::{Source, convert};
use inkstone_cpu::{ISAS, Isa};
use inkstone_model::{Digest, Op};
use inkstone_proof::{Report, cases, model, plan, run};
use inkstone_quant::{FORMATS, Format};
use inkstone_tests::tiny::{self, Recipe};
use inkstone_tests::{needs, remake};
use libtest_mimic::Failed;
use std::collections::{BTreeMap, BTreeSet};
use std::env::{self, consts::ARCH};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// The file of what hashes must be.
const GOLDEN: &str = "everywhere.txt";

/// Where a model comes from.
#[derive(Clone, Copy)]
enum Origin {
    /// The story model that comes along, as it is.
    Own,
    /// The story model of 260K parameters, its weights as an option of the converter has them.
    Story(&'static str),
    /// The same in a format that it is remade in.
    Remade(&'static str),
    /// A seeded model with inputs of K-quants' 256.
    Wide(&'static str),
    /// A seeded model with windows and all optional parts, in a format of weights.
    Seeded(&'static str),
    /// A real model in q4; too large for boards.
    Real(&'static str),
}

static MODELS: &[(&str, Origin)] = &[
    ("stories", Origin::Own),
    ("story F32", Origin::Story("keep")),
    ("story q8", Origin::Story("q8")),
    ("story q4", Origin::Story("q4")),
    ("story Q4_1", Origin::Remade("Q4_1")),
    ("wide Q4_K", Origin::Wide("Q4_K")),
    ("smollm2-135m q4", Origin::Real("smollm2-135m")),
];

/// Set to run all models on all targets; else those that take minutes are left to one target of each kind.
const FULL: &str = "INKSTONE_FULL";

/// Targets that are another's like but for a little, or slow: they run what [`Origin::is_quick`] says.
static LIKE_ANOTHER: &[&str] = &[
    "aarch64-a76",
    "aarch64-a53",
    "wasm",
    "cortex-m7",
    "cortex-m55",
    "riscv32imac",
];

/// The seeded format that boards run too: the others take the same way through their kernels.
const ON_BOARDS: &str = "q8";

/// All models, with a seeded one of every format.
fn models() -> impl Iterator<Item = (String, Origin)> {
    let seeded = FORMATS.iter().map(|format| {
        (
            format!("seeded {}", format.name),
            Origin::Seeded(format.name),
        )
    });
    MODELS
        .iter()
        .map(|(name, origin)| ((*name).into(), *origin))
        .chain(seeded)
}

/// How a target is run; `{}` is the folder of targets.
enum How {
    /// A program that prints a line for each case and instruction set.
    Program(&'static [&'static str]),
    /// A board in QEMU, which sends frames.
    Board,
}

const QEMU: &str = "qemu-aarch64-static";
const CROSS: &str = "/usr/aarch64-linux-gnu";

static TARGETS: &[(&str, How)] = &[
    (
        "aarch64-max",
        How::Program(&[QEMU, "-L", CROSS, "-cpu", "max", "{}/aarch64"]),
    ),
    (
        "aarch64-a76",
        How::Program(&[QEMU, "-L", CROSS, "-cpu", "cortex-a76", "{}/aarch64"]),
    ),
    (
        "aarch64-a53",
        How::Program(&[QEMU, "-L", CROSS, "-cpu", "cortex-a53", "{}/aarch64"]),
    ),
    (
        "wasm",
        How::Program(&["node", "proof/proof.mjs", "{}/plain.wasm"]),
    ),
    (
        "wasm-simd128",
        How::Program(&["node", "proof/proof.mjs", "{}/simd128.wasm"]),
    ),
    ("cortex-m4", How::Board),
    ("cortex-m7", How::Board),
    ("cortex-m33", How::Board),
    ("cortex-m55", How::Board),
    ("riscv32imc", How::Board),
    ("riscv32imac", How::Board),
];

/// What came out: the stored form, the chunk, who computed it, and the hash.
type Found = Vec<(String, u32, String, String)>;

/// Hashes by model and stored form, then by who computed them, as they are now.
static FOUND: Mutex<BTreeMap<String, BTreeMap<String, String>>> = Mutex::new(BTreeMap::new());

fn main() {
    let folder = env::var_os("INKSTONE_TARGETS").map(PathBuf::from);
    let mut trials = Vec::new();
    for (name, origin) in models() {
        let (what, present) = origin.present();
        let label = name.clone();
        let native = move || {
            let bytes = fs::read(file(&label, origin)?)?;
            judged(&label, ARCH, here(&bytes, origin.is_large())?)
        };
        trials.push(needs::trial(format!("{name} here"), present, what, native));
        for (target, how) in TARGETS {
            if matches!(how, How::Board) && !origin.fits_boards() {
                continue;
            }
            let (folder, label) = (folder.clone(), name.clone());
            let left_out =
                LIKE_ANOTHER.contains(target) && !origin.is_quick() && env::var_os(FULL).is_none();
            let (what, present) = match folder {
                Some(_) if left_out => (FULL, false),
                Some(_) => (what, present),
                None => ("targets", false),
            };
            let there = move || {
                let folder = folder.ok_or("INKSTONE_TARGETS is not set")?;
                let file = file(&label, origin)?;
                judged(
                    &label,
                    target,
                    there(target, how, &folder, &file, origin.is_large())?,
                )
            };
            trials.push(needs::trial(
                format!("{name} on {target}"),
                present,
                what,
                there,
            ));
        }
    }
    let conclusion = libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials);
    if env::var_os("INKSTONE_BLESS").is_some() {
        bless();
    }
    if let Some(folder) = env::var_os("INKSTONE_TARGETS") {
        fs::write(Path::new(&folder).join("seen.txt"), seen()).expect("the folder can be written");
    }
    conclusion.exit()
}

impl Origin {
    /// What it is made of, and whether that is there.
    fn present(self) -> (&'static str, bool) {
        match self {
            Origin::Story(_) | Origin::Remade(_) => ("materials", story().is_some()),
            Origin::Real(file) => ("models", needs::model(&format!("{file}.gguf")).is_some()),
            Origin::Own | Origin::Wide(_) | Origin::Seeded(_) => ("models", true),
        }
    }

    fn fits_boards(self) -> bool {
        match self {
            Origin::Seeded(format) => format == ON_BOARDS,
            other => !other.is_large(),
        }
    }

    fn is_quick(self) -> bool {
        match self {
            Origin::Own => true,
            Origin::Seeded(format) => format == ON_BOARDS,
            Origin::Story(_) | Origin::Remade(_) | Origin::Wide(_) | Origin::Real(_) => false,
        }
    }

    /// Whether one case must do, on the best instruction set.
    fn is_large(self) -> bool {
        matches!(self, Origin::Real(_))
    }
}

fn wide(format: &'static Format) -> Recipe {
    Recipe {
        formats: vec![format],
        embed: format,
        width: 256,
        ffn_width: 512,
        head_width: 64,
        ..Recipe::default()
    }
}

fn story() -> Option<PathBuf> {
    needs::materials("models/stories260K-f32.gguf")
}

/// The model as a file, made once for this process.
fn file(name: &str, origin: Origin) -> Result<PathBuf, Failed> {
    static MADE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut made = MADE.lock().map_err(|_| "another model could not be made")?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("everywhere-{}.ink", name.replace(' ', "-")));
    if !made.insert(name.into()) {
        return Ok(path);
    }
    match origin {
        Origin::Own => {
            let own = needs::workspace().join("finetune/models/stories/stories.ink");
            fs::copy(own, &path)?;
        }
        Origin::Story(weights) => converted(&story().ok_or("it was there")?, weights, &path)?,
        Origin::Remade(format) => {
            let plain = path.with_extension("plain");
            converted(&story().ok_or("it was there")?, "keep", &plain)?;
            remake::remake(&fs::read(&plain)?, row(format)?, &path);
            fs::remove_file(plain)?;
        }
        Origin::Wide(format) => tiny::write(&wide(row(format)?), &path),
        Origin::Seeded(format) => tiny::write(&support::recipe(row(format)?), &path),
        Origin::Real(file) => {
            let from = needs::model(&format!("{file}.gguf")).ok_or("it was there")?;
            converted(&from, "q4", &path)?;
        }
    }
    Ok(path)
}

fn row(format: &str) -> Result<&'static Format, Failed> {
    Format::by_name(format).ok_or_else(|| format!("FORMATS has no row {format}").into())
}

fn converted(from: &Path, weights: &str, to: &Path) -> Result<(), Failed> {
    let options = Options {
        weights: *Weights::by_name(weights).ok_or("an option of the converter")?,
        ..Options::default()
    };
    convert(&Source::open(from)?, to, &options, &mut |_| true)?;
    Ok(())
}

/// What this processor gives, on every instruction set it has.
fn here(bytes: &[u8], large: bool) -> Result<Found, Failed> {
    let model = model(bytes)?;
    let mut found = Found::new();
    let isas = ISAS
        .iter()
        .filter(|(_, isa)| isa.available() && (!large || *isa == Isa::detect()));
    for (isa_name, isa) in isas {
        for (kv, case) in cases().filter(|(_, case)| !large || case.chunk == 64) {
            let mut room = vec![0; plan(&model, case)?.memory.arena + 63];
            let start = room.as_ptr().align_offset(64);
            let hash = run::<Vec<Op>>(&model, case, *isa, &mut room[start..], &mut || {})?;
            found.push((kv.into(), case.chunk, (*isa_name).into(), hash.to_string()));
        }
    }
    Ok(found)
}

/// What a target gives.
fn there(
    target: &str,
    how: &How,
    folder: &Path,
    model: &Path,
    large: bool,
) -> Result<Found, Failed> {
    match how {
        How::Program(words) => {
            let words: Vec<String> = words
                .iter()
                .map(|word| word.replace("{}", &folder.to_string_lossy()))
                .collect();
            let mut command = Command::new(&words[0]);
            command
                .args(&words[1..])
                .arg(model)
                .args(large.then_some("--one"));
            lines(&output(&mut command)?)
        }
        How::Board => {
            let serial = folder.join(format!(
                "{target}-{}.frames",
                model.file_stem().unwrap_or_default().display()
            ));
            let mut command = Command::new(needs::workspace().join("firmware-examples/run.sh"));
            command.args([target, "selftest"]).arg(model);
            command
                .env("PROGRAM", folder.join(format!("{target}-selftest")))
                .env("SERIAL", &serial)
                .env("COUNT", "");
            output(&mut command)?;
            frames(&mut fs::read(&serial)?, target)
        }
    }
}

fn output(command: &mut Command) -> Result<String, Failed> {
    let done = command
        .current_dir(needs::workspace().join("tests"))
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if done.status.success() {
        Ok(text)
    } else {
        let error = String::from_utf8_lossy(&done.stderr);
        Err(format!("{command:?}: {}: {text}{error}", done.status).into())
    }
}

/// `ISA KV CHUNK HASH` each.
fn lines(text: &str) -> Result<Found, Failed> {
    let line = |line: &str| {
        let [isa, kv, chunk, hash] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        Some((kv.into(), chunk.parse().ok()?, isa.into(), hash.into()))
    };
    let found: Option<Found> = text.lines().map(line).collect();
    found.ok_or_else(|| format!("lines of another form: {text}").into())
}

fn frames(mut bytes: &mut [u8], target: &str) -> Result<Found, Failed> {
    let mut found = Found::new();
    while !bytes.is_empty() {
        let (report, rest) = postcard::take_from_bytes_cobs::<Report<'_>>(bytes)?;
        if report.target != target {
            return Err(format!("a frame of {}", report.target).into());
        }
        let hash = report
            .hash
            .map_or("failed".into(), |hash| Digest(hash).to_string());
        found.push((report.kv.into(), report.chunk, target.into(), hash));
        bytes = rest;
    }
    Ok(found)
}

/// Every case is there, and its hash is the one that is committed.
fn judged(name: &str, target: &str, found: Found) -> Result<(), Failed> {
    let known = support::golden::read(GOLDEN);
    let mut forms = BTreeSet::<&str>::new();
    for (kv, chunk, isa, hash) in &found {
        forms.insert(kv);
        let key = format!("{name} {kv}");
        let who = format!("{target} {isa}");
        if env::var_os("INKSTONE_BLESS").is_none() && known.get(&key) != Some(hash) {
            let known = known.get(&key).map_or("nothing", String::as_str);
            let how = format!("{key}, {who}, chunks of {chunk}");
            return Err(format!("{how}: {hash}, not {known}").into());
        }
        let mut all = FOUND
            .lock()
            .expect("no trial panics while it holds the lock");
        all.entry(key).or_default().insert(who, hash.clone());
    }
    if forms.len() == 2 {
        Ok(())
    } else {
        Err(format!("cases are missing: {forms:?}").into())
    }
}

/// What was computed, a line each: the model and the stored form, the target and the instruction set, the hash.
fn seen() -> String {
    let found = FOUND.lock().expect("the trials are over");
    let of = |(key, by): (&String, &BTreeMap<String, String>)| {
        let lines = by
            .iter()
            .map(|(who, hash)| format!("{key}\t{who}\t{hash}\n"));
        lines.collect::<String>()
    };
    found.iter().map(of).collect()
}

fn bless() {
    let found = FOUND.lock().expect("the trials are over");
    let first = |(key, by): (&String, &BTreeMap<String, String>)| {
        by.values().next().map(|hash| (key.clone(), hash.clone()))
    };
    support::golden::renew(GOLDEN, found.iter().filter_map(first));
}
