//! The promise: one file and the same tokens give the same logits, whatever computes them.
//!
//! `golden/hashes.txt` holds what they are; `INKSTONE_BLESS=1` writes it anew.

mod flush;
mod support;

use inkstone_cpu::{ISAS, Isa};
use inkstone_engine::{KVS, Kv, Model, SessionConfig, Step};
use inkstone_tests::needs;
use libtest_mimic::{Failed, Trial};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::{env, fs, process};

/// The file of what hashes must be.
const GOLDEN: &str = "hashes.txt";

/// Chunks that a prompt is run in.
static CHUNKS: &[u32] = &[1, 17, 512];

/// Hashes by name, as they are now.
static FOUND: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

/// Where real models lie, converted.
static CONVERTED: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());

fn main() {
    let mut trials = Vec::new();
    for (name, recipe) in support::recipes() {
        for &(kv_name, kv) in stored() {
            let recipe = recipe.clone();
            let name = format!("tiny {name} {kv_name}");
            trials.push(Trial::test(format!("one_hash_of {name}"), move || {
                tiny(&name, &support::tiny(&name.replace(' ', "-"), &recipe), kv)
            }));
        }
    }
    for &(kv_name, kv) in stored() {
        let name = format!("snapshot {kv_name}");
        trials.push(Trial::test(format!("one_hash_of {name}"), move || {
            snapshot(&name, kv)
        }));
    }
    for name in support::REAL {
        let present = needs::model(&format!("{name}.gguf")).is_some();
        for &(kv_name, kv) in stored() {
            let name_of_trial = format!("one_hash_of {name} {kv_name}");
            trials.push(needs::trial(name_of_trial, present, "models", move || {
                real(name, kv_name, kv)
            }));
        }
    }
    trials.push(Trial::test(
        "flushing_denormals_in_the_host_changes_nothing",
        flushed,
    ));
    let arguments = libtest_mimic::Arguments::from_args();
    let conclusion = libtest_mimic::run(&arguments, trials);
    for path in CONVERTED.lock().expect("the trials are over").values() {
        let _ = fs::remove_file(path);
    }
    if env::var_os("INKSTONE_BLESS").is_some() {
        let found = FOUND.lock().expect("the trials are over");
        support::golden::renew(GOLDEN, found.clone());
    }
    conclusion.exit()
}

/// Every instruction set, thread count and chunk against the definition itself; the best one in all combinations.
fn tiny(name: &str, model: &Model, kv: Kv) -> Result<(), Failed> {
    let tokens = support::tokens(200, model.spec().vocabulary);
    let reference = SessionConfig {
        device: "reference".into(),
        ..config(kv, 1, 32, None)
    };
    let truth = support::hash_of_all(model, &reference, &tokens);
    for (rank, isa) in isas().rev().enumerate() {
        let fast = (1..=3).flat_map(|threads| CHUNKS.iter().map(move |&chunk| (threads, chunk)));
        let ways = if rank == 0 {
            fast.collect()
        } else {
            vec![(1, 1), (2, 17), (3, 512)]
        };
        for (threads, chunk) in ways {
            let hash = support::hash_of_all(model, &config(kv, threads, chunk, Some(isa)), &tokens);
            let how = format!("{name}: {isa}, {threads} threads, chunks of {chunk}");
            equal(&truth, &hash, &how)?;
        }
    }
    pinned(name, truth)
}

/// What a session saves, and so how keys and values lie, on every instruction set: beyond a window, within a tile.
fn snapshot(name: &str, kv: Kv) -> Result<(), Failed> {
    let (_, recipe) = support::recipes().last().ok_or("FORMATS is not empty")?;
    let model = support::tiny(&name.replace(' ', "-"), &recipe);
    let tokens = support::tokens(90, model.spec().vocabulary);
    let path = support::folder().join(format!("{}-{}", name.replace(' ', "-"), process::id()));
    let mut truth: Option<String> = None;
    for isa in isas() {
        let mut session = model.session(&config(kv, 2, 17, Some(isa)))?;
        session.feed(&tokens)?;
        while let Step::More { .. } = session.advance()? {}
        session.save(&path)?;
        let bytes = fs::read(&path)?;
        // A snapshot ends with its own hash.
        let hash = bytes.iter().skip(bytes.len().saturating_sub(32));
        let hash: String = hash.map(|byte| format!("{byte:02x}")).collect();
        equal(truth.get_or_insert_with(|| hash.clone()), &hash, isa)?;
    }
    fs::remove_file(&path)?;
    pinned(name, truth.ok_or("there is a portable instruction set")?)
}

/// Beyond the window; the slow ways of computing once each, the fast ones in all combinations.
fn real(name: &'static str, kv_name: &str, kv: Kv) -> Result<(), Failed> {
    let model = converted(name)?;
    let window = model.layers().iter().filter_map(|layer| layer.window).max();
    let tokens = support::tokens(window.unwrap_or(64) + 70, model.spec().vocabulary);
    let mut truth: Option<String> = None;
    for (rank, isa) in isas().rev().enumerate() {
        for (threads, chunk) in combinations(rank) {
            let config = config(kv, threads, chunk, Some(isa));
            let hash = support::hash_of_last(&model, &config, &tokens, 4);
            let how = format!("{name} {kv_name}: {isa}, {threads} threads, chunks of {chunk}");
            equal(truth.get_or_insert_with(|| hash.clone()), &hash, &how)?;
        }
    }
    let truth = truth.ok_or("there is a portable instruction set")?;
    pinned(&format!("{name} {kv_name}"), truth)
}

/// A real model, converted by the first trial that wants it.
fn converted(name: &'static str) -> Result<Model, Failed> {
    let mut all = CONVERTED.lock().map_err(|_| "it cannot be converted")?;
    if !all.contains_key(name) {
        let path = support::converted(name).ok_or("the model was there a moment ago")?;
        all.insert(name, path);
    }
    Ok(Model::open(&all[name])?)
}

/// The best instruction set in every way, the others in two.
fn combinations(rank: usize) -> Vec<(u32, u32)> {
    match rank {
        0 => [1, 2]
            .into_iter()
            .flat_map(|threads| CHUNKS.iter().map(move |&chunk| (threads, chunk)))
            .collect(),
        1 => vec![(2, 512), (1, 17)],
        _ => vec![(2, 512)],
    }
}

fn flushed() -> Result<(), Failed> {
    let (name, recipe) = support::recipes().last().ok_or("FORMATS is not empty")?;
    let model = support::tiny("flushed", &recipe);
    let tokens = support::tokens(100, model.spec().vocabulary);
    let config = config(Kv::default(), 2, 17, None);
    let plain = support::hash_of_all(&model, &config, &tokens);
    let (hash, restored) = flush::to_zero(|| support::hash_of_all(&model, &config, &tokens));
    equal(
        &plain,
        &hash,
        &format!("{name}, denormals flushed by the host"),
    )?;
    if restored {
        Ok(())
    } else {
        Err("the host's floating-point environment was not restored".into())
    }
}

fn config(kv: Kv, threads: u32, chunk: u32, isa: Option<&str>) -> SessionConfig {
    SessionConfig {
        device: support::DEVICE.into(),
        context: Some(1024),
        threads: Some(threads),
        batch: chunk,
        kv,
        isa: isa.map(String::from),
        ..SessionConfig::default()
    }
}

/// The stored forms of keys and values that ship.
fn stored() -> impl Iterator<Item = &'static (&'static str, Kv)> {
    KVS.iter().filter(|(name, _)| *name != "f32")
}

fn isas() -> impl DoubleEndedIterator<Item = &'static str> {
    ISAS.iter()
        .filter(|(_, isa)| Isa::available(*isa))
        .map(|(name, _)| *name)
}

fn equal(truth: &str, hash: &str, how: &str) -> Result<(), Failed> {
    if truth == hash {
        Ok(())
    } else {
        Err(format!("{how}: {hash}, not {truth}").into())
    }
}

/// The hash is the one that is committed.
fn pinned(name: &str, hash: String) -> Result<(), Failed> {
    FOUND
        .lock()
        .expect("no trial panics while it holds the lock")
        .insert(name.into(), hash.clone());
    if env::var_os("INKSTONE_BLESS").is_some() {
        return Ok(());
    }
    let known = support::golden::read(GOLDEN);
    let truth = known
        .get(name)
        .ok_or_else(|| format!("{name} is not in golden/hashes.txt"))?;
    equal(truth, &hash, &format!("{name}, against golden/hashes.txt"))
}
