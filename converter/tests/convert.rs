//! Whole conversions: each is compared with its source, and opened as the runtime opens it.

use std::fs;
use std::path::{Path, PathBuf};

use inkstone_converter::compare::{Comparison, Outcome};
use inkstone_converter::convert::{KEEP, Options, Q4, Q8, Report, Weights};
use inkstone_converter::{ErrorKind, Source, compare, convert};
use inkstone_format::{File, SectionKind};
use inkstone_model::Model;
use inkstone_tests::needs;
use libtest_mimic::{Failed, Trial};

type Outcomes = Result<(), Failed>;

const STORIES: [&str; 5] = [
    "stories260K-f32.gguf",
    "stories260K.bin",
    "stories260K-hf",
    "stories260K-f16.gguf",
    "stories260K-q8_0.gguf",
];

fn main() {
    let mut trials = Vec::new();
    let archs = needs::workspace().join("tests/golden/archs");
    for entry in fs::read_dir(archs).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.join("config.json").exists() {
            let name = format!("{}_converts_bit_for_bit", entry.file_name().display());
            trials.push(Trial::test(name, move || keeps_every_bit(&path)));
        }
    }
    for name in STORIES {
        let path = needs::materials("models").map(|folder| folder.join(name));
        let claim = format!("{name}_converts_bit_for_bit");
        trials.push(material(claim, path, |path| keeps_every_bit(&path)));
    }
    let models = || needs::materials("models");
    trials.push(material(
        "all_sources_of_one_model_give_the_same_weights",
        models(),
        same,
    ));
    trials.push(material("rounding_is_recorded_and_small", models(), rounds));
    trials.push(material(
        "a_changed_weight_is_a_mismatch",
        models(),
        mismatches,
    ));
    trials.push(material(
        "a_broken_source_leaves_no_file",
        models(),
        leaves_nothing,
    ));
    for name in ["smollm2-135m.gguf", "gemma3-270m.gguf"] {
        let path = needs::model(name);
        let claim = format!("{name}_converts_bit_for_bit");
        trials.push(needs::trial(claim, path.is_some(), "models", move || {
            keeps_every_bit(&path.ok_or("absent")?)
        }));
    }
    needs::run(trials);
}

fn material(
    name: impl Into<String>,
    path: Option<PathBuf>,
    test: impl FnOnce(PathBuf) -> Outcomes + Send + 'static,
) -> Trial {
    needs::trial(name, path.is_some(), "materials", move || {
        test(path.ok_or("absent")?)
    })
}

/// A converted file, removed when dropped.
struct Converted {
    path: PathBuf,
    report: Report,
    bytes: Vec<u8>,
}

impl Drop for Converted {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn target(source: &Path, weights: &Weights, purpose: &str) -> PathBuf {
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{name}-{}-{purpose}.ink", weights.name);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn converted(path: &Path, weights: Weights, purpose: &str) -> Result<Converted, Failed> {
    let source = Source::open(path)?;
    let to = target(path, &weights, purpose);
    let options = Options {
        weights,
        ..Options::default()
    };
    let report = convert(&source, &to, &options, &mut |_| true)?;
    let bytes = fs::read(&to)?;
    Ok(Converted {
        path: to,
        report,
        bytes,
    })
}

fn compared(path: &Path, converted: &Converted) -> Result<Comparison, Failed> {
    let file = File::parse(&converted.bytes)?;
    file.verify(&mut |_, _| {})?;
    Model::new(file)?;
    Ok(compare(&Source::open(path)?, &file)?)
}

fn keeps_every_bit(path: &Path) -> Outcomes {
    let converted = converted(path, KEEP, "keeps")?;
    let comparison = compared(path, &converted)?;
    assert_eq!(comparison.equal(), comparison.tensors.len());
    assert!(comparison.tensors.len() > 9);
    assert!(converted.report.to_string().contains(" bytes in all"));
    Ok(())
}

/// Every form of the same F32 weights, the rows of whose heads are ordered in two ways.
fn same(folder: PathBuf) -> Outcomes {
    let mut files = Vec::new();
    for name in &STORIES[..3] {
        files.push(converted(&folder.join(name), KEEP, "same")?);
    }
    let first = File::parse(&files[0].bytes)?;
    for other in &files[1..] {
        let other = File::parse(&other.bytes)?;
        assert_eq!(
            first.section(SectionKind::Spec),
            other.section(SectionKind::Spec)
        );
        assert_eq!(first.tensors().len(), other.tensors().len());
        for (a, b) in first.tensors().zip(other.tensors()) {
            assert_eq!((a.layer, a.role), (b.layer, b.role));
            assert!(first.payload(&a) == other.payload(&b), "{a:?}");
        }
    }
    Ok(())
}

fn rounds(folder: PathBuf) -> Outcomes {
    let path = folder.join("stories260K-f32.gguf");
    for (weights, most) in [(Q8, 0.01), (Q4, 0.12)] {
        let converted = converted(&path, weights, "rounds")?;
        let comparison = compared(&path, &converted)?;
        assert_eq!(comparison.rounded().count(), 1 + 5 * 7);
        for tensor in comparison.rounded() {
            let Outcome::Rounded { relative_error } = tensor.outcome else {
                continue;
            };
            assert!(relative_error < most, "{tensor:?}");
        }
    }
    // What is q8 already keeps its codes.
    let path = folder.join("stories260K-q8_0.gguf");
    let kept = converted(&path, KEEP, "q8")?;
    let again = converted(&path, Q8, "q8")?;
    let codes = |c: &Converted| c.report.formats()["q8"];
    assert!(codes(&kept) <= codes(&again));
    Ok(())
}

fn mismatches(folder: PathBuf) -> Outcomes {
    let path = folder.join("stories260K-q8_0.gguf");
    let mut converted = converted(&path, KEEP, "mismatch")?;
    let source = Source::open(&path)?;
    let payload = {
        let file = File::parse(&converted.bytes)?;
        let tensor = file.tensors().next().ok_or("no tensors")?;
        tensor.offset as usize
    };
    converted.bytes[payload + 1] ^= 1;
    let error = compare(&source, &File::parse(&converted.bytes)?).expect_err("changed");
    assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
    Ok(())
}

fn leaves_nothing(folder: PathBuf) -> Outcomes {
    let bytes = fs::read(folder.join("stories260K-q8_0.gguf"))?;
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken.gguf");
    fs::write(&path, &bytes)?;
    let source = Source::open(&path)?;
    fs::write(&path, &bytes[..bytes.len() - 1000])?;
    let to = target(&path, &KEEP, "broken");
    let error = convert(&source, &to, &Options::default(), &mut |_| true).expect_err("cut");
    assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
    assert!(!to.exists());
    fs::remove_file(&path)?;
    Ok(())
}
