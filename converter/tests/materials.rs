//! The importers against data that is not in the repository: goldens, malformed files, whole models.

use std::fs;
use std::path::{Path, PathBuf};

use inkstone_converter::ggml_types::{self, GgmlType};
use inkstone_converter::gguf::Gguf;
use inkstone_converter::pack::CodedRow;
use inkstone_converter::{Error, Source, quantize, safetensors};
use inkstone_tests::needs;
use libtest_mimic::{Failed, Trial};

type Outcome = Result<(), Failed>;

fn main() {
    let mut trials = Vec::new();
    let blocks = |t: &&GgmlType| t.decode.is_some() && t.block > 1;
    for kind in ggml_types::TYPES.iter().filter(blocks) {
        let name = format!("{}_blocks_decode_to_the_golden_bits", kind.name);
        let folder = needs::materials("numerics/gguf-quants");
        trials.push(trial(name, folder, |folder| decodes(&folder, kind)));
    }
    let folder = needs::materials("numerics/gguf-quants");
    trials.push(trial(
        "q8_has_the_golden_values_of_Q8_0",
        folder,
        rounds_like_q8_0,
    ));
    let malformed = || needs::materials("conformance/malformed");
    trials.push(trial(
        "every_malformed_file_has_its_verdict",
        malformed(),
        verdicts,
    ));
    trials.push(trial("no_cut_of_a_sound_file_panics", malformed(), cuts));
    let models = || needs::materials("models");
    trials.push(trial(
        "all_forms_of_stories260K_hold_the_same_numbers",
        models(),
        stories,
    ));
    let vocabularies = needs::materials("tokenizers/gguf-vocab");
    trials.push(trial(
        "every_vocabulary_file_opens",
        vocabularies,
        vocabulary_files,
    ));
    needs::run(trials);
}

fn trial(
    name: impl Into<String>,
    path: Option<PathBuf>,
    test: impl FnOnce(PathBuf) -> Outcome + Send + 'static,
) -> Trial {
    needs::trial(name, path.is_some(), "materials", move || {
        test(path.ok_or("absent")?)
    })
}

fn golden(folder: &Path, kind: &GgmlType, extension: &str) -> PathBuf {
    folder.join(format!("dequant_{}.{extension}", kind.name))
}

fn decodes(folder: &Path, kind: &GgmlType) -> Outcome {
    let blocks = fs::read(golden(folder, kind, "blocks"))?;
    let expected = fs::read(golden(folder, kind, "f32"))?;
    let mut numbers = Vec::new();
    assert!(kind.decode_into(&blocks, &mut numbers));
    let expected = expected.as_chunks::<4>().0;
    assert_eq!(numbers.len(), expected.len());
    for (at, (number, expected)) in numbers.iter().zip(expected).enumerate() {
        let expected = f32::from_le_bytes(*expected);
        let same = number.to_bits() == expected.to_bits();
        assert!(same, "element {at} is {number}, expected {expected}");
    }
    Ok(())
}

fn rounds_like_q8_0(folder: PathBuf) -> Outcome {
    let numbers = fs::read(folder.join("quant_Q8_0.f32"))?;
    let numbers: Vec<f32> = numbers
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| f32::from_le_bytes(*b))
        .collect();
    let golden = fs::read(folder.join("quant_Q8_0.blocks"))?;
    let mut row = CodedRow::default();
    quantize::q8(&numbers, &mut row);
    let records = row.records.as_chunks::<2>().0;
    let (codes, blocks) = (row.codes.as_chunks::<32>().0, golden.as_chunks::<34>().0);
    assert_eq!((records.len(), codes.len()), (blocks.len(), blocks.len()));
    for (block, (record, codes)) in blocks.iter().zip(records.iter().zip(codes)) {
        assert_eq!(block[..2], record[..]);
        assert_eq!(block[2..], codes.map(|code| code ^ 0x80));
    }
    Ok(())
}

fn parse(path: &Path) -> Result<(), Error> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("gguf") => Gguf::open(path).map(drop),
        _ => safetensors::open(path).map(drop),
    }
}

fn verdicts(folder: PathBuf) -> Outcome {
    let manifest = fs::read_to_string(folder.join("MANIFEST.json"))?;
    let manifest: serde_json::Value = serde_json::from_str(&manifest)?;
    let cases = manifest.as_object().ok_or("the manifest is no object")?;
    let mut wrong = Vec::new();
    for (name, case) in cases {
        let outcome = parse(&folder.join(name));
        let placed = outcome.as_ref().err().is_none_or(|e| e.offset().is_some());
        let fits = match case["expect"].as_str() {
            Some("accept") => outcome.is_ok(),
            Some("reject") => outcome.is_err() && placed,
            _ => placed,
        };
        if !fits {
            wrong.push(format!("{name}: {} but {outcome:?}", case["why"]));
        }
    }
    assert_eq!(cases.len(), 46);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Every file of the set, cut at every byte, in memory.
fn cuts(folder: PathBuf) -> Outcome {
    for kind in ["gguf", "safetensors"] {
        for entry in fs::read_dir(folder.join(kind))? {
            let bytes = fs::read(entry?.path())?;
            for end in 0..bytes.len().min(2000) {
                let cut = &bytes[..end];
                let _ = inkstone_converter::gguf::Header::parse(cut, end as u64);
                let _ = safetensors::parse(cut, end as u64);
            }
        }
    }
    Ok(())
}

fn stories(folder: PathBuf) -> Outcome {
    let open = |name: &str| Source::open(&folder.join(name));
    let (gguf, c) = (open("stories260K-f32.gguf")?, open("stories260K.bin")?);
    assert_eq!(gguf.tensors().len(), c.tensors().len());
    for tensor in gguf.tensors() {
        let twin = c.tensor(&tensor.name).ok_or("llama2.c lacks a tensor")?;
        assert_eq!(tensor.shape, twin.shape, "{}", tensor.name);
        assert_eq!(gguf.numbers(tensor)?, c.numbers(twin)?, "{}", tensor.name);
    }
    let hf = open("stories260K-hf")?;
    let name = "model.layers.1.mlp.gate_proj.weight";
    let gate = hf.tensor(name).ok_or("no gate")?;
    let twin = c.tensor("blk.1.ffn_gate.weight").ok_or("no gate")?;
    assert_eq!(hf.numbers(gate)?, c.numbers(twin)?);
    for source in [
        &gguf,
        &c,
        &hf,
        &open("stories260K-f16.gguf")?,
        &open("stories260K-q8_0.gguf")?,
    ] {
        let config = &source.config;
        assert_eq!(
            (config.layers, config.width, config.heads, config.kv_heads),
            (5, 64, 8, 4)
        );
        assert_eq!(
            (config.rope.dims, config.rope.base, config.norm_eps),
            (8, 1e4, 1e-5)
        );
        assert_eq!(
            (config.ffn_width, config.context, config.window),
            (172, 512, None)
        );
    }
    open("tinyllamas-stories-260k-f32.gguf").expect_err("version 1 is not read");
    Ok(())
}

fn vocabulary_files(folder: PathBuf) -> Outcome {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "gguf") {
            let gguf = Gguf::open(&path)?;
            let tokens = gguf.get("tokenizer.ggml.tokens").ok_or("no tokens")?;
            assert!(tokens.as_strs().is_some_and(|t| t.len() > 1000), "{path:?}");
        }
    }
    Ok(())
}
