//! Opening, and what is said of what cannot be opened.

use crate::sample::{EOS, configs, fresh, open, recipe, tokens, write, write_with};
use core::time::Duration;
use inkstone_engine::format::records::{Manifest, encode};
use inkstone_engine::format::{SectionKind, seal};
use inkstone_engine::{DEVICES, Error, ErrorKind, Model, SessionConfig};
use std::fs;
use std::path::Path;
use std::time::Instant;

fn refused(path: &Path) -> Error {
    Model::open(path).expect_err("it is refused")
}

#[test]
fn what_is_no_model_is_refused_by_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    assert_eq!(refused(&path).kind(), ErrorKind::NotFound);
    assert_eq!(refused(folder.path()).kind(), ErrorKind::NotAModel);
    for (bytes, kind) in [
        (&b""[..], ErrorKind::NotAModel),
        (b"GGUF\x03\0\0\0", ErrorKind::NotAModel),
        (b"\x89INK\r\n\x1a\n", ErrorKind::Damaged),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = refused(&path);
        assert_eq!(error.kind(), kind, "{error}");
        let line = error.to_string();
        assert!(
            line.contains(&path.display().to_string()) && !line.contains('\n'),
            "{line}"
        );
    }
}

#[test]
fn damage_and_other_versions_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ink");
    write(&recipe(), &path, &[EOS]);
    let good = fs::read(&path).unwrap();
    let edited = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= byte;
        bytes
    };
    for (bytes, kind) in [
        (edited(12, 8), ErrorKind::Unsupported),
        (edited(16, 1), ErrorKind::Unsupported),
        (good[..20_000].to_vec(), ErrorKind::Damaged),
        (edited(200, 1), ErrorKind::Damaged),
    ] {
        fs::write(&path, &bytes).unwrap();
        assert_eq!(refused(&path).kind(), kind);
    }
    write(&recipe(), &path, &[258]);
    assert_eq!(refused(&path).kind(), ErrorKind::Damaged);
    write_with(&recipe(), &path, &[]);
    assert_eq!(refused(&path).kind(), ErrorKind::Unsupported);
    write_with(
        &recipe(),
        &path,
        &[(SectionKind::Tokenizer, b"no tokenizer")],
    );
    assert_eq!(refused(&path).kind(), ErrorKind::Damaged);
}

#[test]
fn every_flipped_bit_of_the_tables_is_refused_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ink");
    write(&recipe(), &path, &[EOS]);
    let good = fs::read(&path).unwrap();
    let config = SessionConfig {
        device: "reference".into(),
        context: Some(16),
        ..SessionConfig::default()
    };
    for at in (0..1024).chain(16384..17000) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        seal(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let Ok(model) = Model::open(&path) else {
            continue;
        };
        model.encode("tea");
        let Ok(mut session) = model.session(&config) else {
            continue;
        };
        session.feed(&[1, 2, 3]).unwrap();
        let _ = session.step();
    }
}

#[test]
fn verifying_finds_damage_that_opening_does_not_look_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ink");
    write(&recipe(), &path, &[EOS]);
    let mut heard = (0, 0);
    Model::open(&path)
        .unwrap()
        .verify(&mut |done, total| heard = (done, total))
        .unwrap();
    let mut bytes = fs::read(&path).unwrap();
    assert_eq!(heard, (bytes.len() as u64, bytes.len() as u64));
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let model = Model::open(&path).unwrap();
    assert_eq!(
        model.verify(&mut |_, _| {}).unwrap_err().kind(),
        ErrorKind::Damaged
    );
}

#[test]
fn a_manifest_names_the_model() {
    let sample = open(&recipe());
    assert_eq!(sample.model.name(), "tiny");
    assert_eq!(sample.model.manifest().unwrap(), None);
    let path = sample.folder.path().join("named.ink");
    let manifest = Manifest {
        name: "Oolong".into(),
        ..Manifest::default()
    };
    let bytes = fs::read(sample.model.path()).unwrap();
    let file = inkstone_engine::format::File::parse(&bytes).unwrap();
    let tokenizer = file.section(SectionKind::Tokenizer).unwrap();
    write_with(
        &recipe(),
        &path,
        &[
            (SectionKind::Tokenizer, tokenizer),
            (SectionKind::Manifest, &encode(&manifest)),
        ],
    );
    let model = Model::open(&path).unwrap();
    assert_eq!(
        (model.name().as_str(), model.has_template()),
        ("Oolong", false)
    );
    let messages = serde_json::json!([]);
    let error = model.render_chat(&messages, None, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("Oolong"), "{error}");
}

#[test]
fn a_plan_says_what_a_session_takes() {
    let sample = open(&recipe());
    for config in configs() {
        let plan = sample.model.plan(&config).unwrap();
        let m = plan.memory;
        assert_eq!(m.arena, m.kv + m.slots + m.logits + m.scratch);
        assert_eq!(
            plan.mapped,
            fs::metadata(sample.model.path()).unwrap().len()
        );
        assert!(plan.weights < plan.mapped);
        assert_eq!(
            plan.reserved(),
            m.arena as u64 + plan.tokens + plan.sampler + plan.operations
        );
        assert_eq!(sample.model.session(&config).unwrap().plan(), &plan);
    }
}

#[test]
fn sessions_outlive_the_model_and_a_replaced_file() {
    let sample = open(&recipe());
    let config = configs().next().unwrap();
    let expected = fresh(&sample.model, &config, &tokens(10));
    let mut session = sample.model.session(&config).unwrap();
    let path = sample.model.path().to_path_buf();
    drop(sample.model);
    let other = path.with_extension("new");
    write(
        &inkstone_tests::tiny::Recipe {
            seed: 2,
            ..recipe()
        },
        &other,
        &[],
    );
    fs::rename(&other, &path).unwrap();
    session.feed(&tokens(10)).unwrap();
    assert_eq!(crate::sample::logits(&mut session), expected);
    let replaced = Model::open(&path).unwrap();
    assert_ne!(fresh(&replaced, &config, &tokens(10)), expected);
}

#[test]
fn opening_takes_no_longer_for_a_larger_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.ink");
    let recipe = inkstone_tests::tiny::Recipe {
        width: 1024,
        ffn_width: 4096,
        layers: 4,
        ..recipe()
    };
    write(&recipe, &path, &[EOS]);
    assert!(fs::metadata(&path).unwrap().len() > 50 << 20);
    let time = |_| {
        let start = Instant::now();
        Model::open(&path).unwrap();
        start.elapsed()
    };
    let best = (0..10).map(time).min().unwrap();
    assert!(best < Duration::from_millis(5), "{best:?}");
}

#[test]
fn devices_have_names_of_their_own() {
    let mut names: Vec<&str> = DEVICES.iter().map(|device| device.name).collect();
    assert!(names.iter().all(|name| name.len() <= 16));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), DEVICES.len());
}

#[test]
fn models_and_sessions_go_to_other_threads() {
    fn check<T: Send>() {}
    check::<Model>();
    check::<inkstone_engine::Session>();
    check::<inkstone_engine::Canceller>();
}
