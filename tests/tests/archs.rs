//! Every architecture's tiny golden model, converted and run by the definition, against transformers' logits.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use inkstone_converter::convert::Options;
use inkstone_converter::{Source, arch::ARCHS, convert};
use inkstone_format::File;
use inkstone_model::reference::Reference;
use inkstone_model::{Activations, Backend, Batch, Config, Kv, Model, Plan, Wanted};
use safetensors::SafeTensors;

/// Folders of `golden/archs`, each with the row of `ARCHS` it stands for.
const GOLDENS: &[(&str, &str)] = &[
    ("llama", "llama"),
    ("llama3", "llama"),
    ("mistral", "llama"),
    ("qwen2", "qwen2"),
    ("qwen3", "qwen3"),
    ("gemma3", "gemma3"),
    ("internlm2", "internlm2"),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden/archs")
        .join(name)
}

fn converted(name: &str) -> Vec<u8> {
    let path =
        std::env::temp_dir().join(format!("inkstone-arch-{}-{name}.ink", std::process::id()));
    let source = Source::open(&folder(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    convert(&source, &path, &Options::default(), &mut |_| true)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let ink = std::fs::read(&path).unwrap();
    let comparison = inkstone_converter::compare(&source, &File::parse(&ink).unwrap()).unwrap();
    assert_eq!(comparison.rounded().count(), 0, "{name}: BF16 is kept");
    std::fs::remove_file(path).unwrap();
    ink
}

fn golden(name: &str) -> (Vec<u32>, Vec<f32>) {
    let bytes = std::fs::read(folder(name).join("golden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let words = |tensor: &str| -> Vec<[u8; 4]> {
        file.tensor(tensor)
            .unwrap()
            .data()
            .chunks(4)
            .map(|b| b.try_into().unwrap())
            .collect()
    };
    let tokens = words("tokens")
        .into_iter()
        .map(u32::from_le_bytes)
        .collect();
    (
        tokens,
        words("logits")
            .into_iter()
            .map(f32::from_le_bytes)
            .collect(),
    )
}

#[test]
fn every_architecture_gives_its_golden_logits() {
    for (name, _) in GOLDENS {
        let ink = converted(name);
        let (tokens, want) = golden(name);
        let model = Model::new(File::parse(&ink).unwrap()).unwrap();
        let batch = tokens.len() as u32;
        let (kv, activations) = (Kv::F32, Activations::F32);
        let config = Config {
            context: 64,
            sequences: 1,
            batch,
            logits: batch,
            threads: 1,
            rewind: 0,
            kv,
            activations,
            streamed: false,
        };
        let plan = Plan::new(&model, config).unwrap();
        let mut backend = Reference::new(plan, plan.ops(&model), ink.as_slice());
        backend
            .run(&Batch {
                tokens: &tokens,
                places: 0.into(),
                wanted: Wanted::All,
                stop: None,
            })
            .unwrap();
        let largest = want.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        let mut worst = 0.0_f32;
        let rows = want.len() / model.spec().vocabulary as usize;
        for (got, want) in backend.logits(0..rows).iter().zip(want) {
            worst = worst.max((got - want).abs() / largest);
        }
        assert!(worst <= 1e-5, "{name}: {worst:e} of the largest logit");
    }
}

#[test]
fn every_architecture_has_a_golden() {
    for arch in ARCHS {
        assert!(
            GOLDENS.iter().any(|(_, row)| *row == arch.name),
            "{} has none",
            arch.name
        );
    }
}
