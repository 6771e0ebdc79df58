//! Saving and loading; files that lie.

use crate::sample::{Sample, configs, draw, fresh, logits, open, recipe, tokens, windowed};
use inkstone_engine::{ErrorKind, Kv, Params, Session, SessionConfig};
use std::fs;

#[test]
fn loading_is_as_never_having_stopped() {
    let sample = open(&windowed());
    let params = Params {
        temperature: 0.8,
        seed: 11,
        mirostat_tau: 3.0,
        frequency_penalty: 0.1,
        ..Params::default()
    };
    for config in configs() {
        for run in [0, 1, 40] {
            let path = sample.folder.path().join("state");
            let mut session = sample.model.session(&config).unwrap();
            session.set_sampling(&params).unwrap();
            session.feed(&tokens(50)).unwrap();
            for _ in 0..run {
                session.step().unwrap();
                session.go_on();
            }
            session.save(&path).unwrap();
            let mut other = sample.model.session(&config).unwrap();
            other.set_sampling(&params).unwrap();
            other.feed(&[1, 2, 3]).unwrap();
            draw(&mut other, 2);
            other.load(&path).unwrap();
            assert_eq!(other.tokens(), session.tokens());
            assert_eq!(draw(&mut other, 5), draw(&mut session, 5));
            session.rewind(session.position() - 8).unwrap();
            other.rewind(other.position() - 8).unwrap();
            assert_eq!(logits(&mut other), logits(&mut session));
        }
    }
}

#[test]
fn an_empty_session_can_be_saved() {
    let sample = open(&recipe());
    for config in configs() {
        let path = sample.folder.path().join("empty");
        sample.model.session(&config).unwrap().save(&path).unwrap();
        let mut session = sample.model.session(&config).unwrap();
        session.feed(&tokens(3)).unwrap();
        session.load(&path).unwrap();
        assert_eq!(session.position(), 0);
    }
}

#[test]
fn contexts_may_differ_where_nothing_is_a_ring() {
    let sample = open(&recipe());
    for config in configs() {
        let path = saved(&sample, &config, 50);
        let larger = SessionConfig {
            context: Some(300),
            batch: 16,
            threads: Some(1),
            ..config.clone()
        };
        let mut session = sample.model.session(&larger).unwrap();
        session.load(&path).unwrap();
        assert_eq!(
            logits(&mut session),
            fresh(&sample.model, &config, &tokens(50))
        );
        let smaller = SessionConfig {
            context: Some(49),
            ..config
        };
        let mut session = sample.model.session(&smaller).unwrap();
        assert_eq!(
            session.load(&path).unwrap_err().kind(),
            ErrorKind::ContextFull
        );
    }
}

#[test]
fn a_state_of_something_else_is_a_mismatch() {
    let (sample, other) = (open(&windowed()), open(&recipe()));
    for config in configs() {
        let config = SessionConfig {
            context: Some(400),
            ..config
        };
        let path = saved(&sample, &config, 50);
        let load = |sample: &Sample, config: &SessionConfig| {
            let mut session = sample.model.session(config).unwrap();
            session.feed(&[4, 5]).unwrap();
            let error = session.load(&path).unwrap_err();
            assert_eq!(session.tokens(), [4, 5]);
            error.kind()
        };
        assert_eq!(load(&other, &config), ErrorKind::Mismatch);
        let kv = if config.kv == Kv::F16 {
            Kv::Int8
        } else {
            Kv::F16
        };
        assert_eq!(
            load(
                &sample,
                &SessionConfig {
                    kv,
                    ..config.clone()
                }
            ),
            ErrorKind::Mismatch
        );
        assert_eq!(
            load(
                &sample,
                &SessionConfig {
                    batch: 16,
                    ..config.clone()
                }
            ),
            ErrorKind::Mismatch
        );
    }
}

#[test]
fn going_back_beyond_a_loaded_state_is_refused() {
    let sample = open(&windowed());
    for config in configs() {
        let config = SessionConfig {
            context: Some(400),
            ..config
        };
        let mut session = sample.model.session(&config).unwrap();
        session.feed(&tokens(300)).unwrap();
        logits(&mut session);
        session.rewind(290).unwrap();
        let mut other = session.fork().unwrap();
        for session in [&mut session, &mut other] {
            assert_eq!(
                session.rewind(283).unwrap_err().kind(),
                ErrorKind::RewindTooFar
            );
            session.rewind(284).unwrap();
            assert_eq!(logits(session), fresh(&sample.model, &config, &tokens(284)));
        }
    }
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused() {
    let sample = open(&recipe());
    let config = SessionConfig {
        context: Some(16),
        ..configs().next().unwrap()
    };
    let path = saved(&sample, &config, 4);
    let good = fs::read(&path).unwrap();
    let mut session = sample.model.session(&config).unwrap();
    let mut refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let error = session.load(&path).expect_err(what);
        assert_ne!(error.kind(), ErrorKind::Io, "{what}: {error}");
        assert!(session.tokens().len() <= 16);
    };
    for len in (0..good.len()).step_by(1 + good.len() / 300) {
        refused(&good[..len], "shorter");
    }
    for at in (0..good.len()).step_by(1 + good.len() / 900).chain(0..200) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        refused(&bytes, &format!("bit at {at}"));
    }
    refused(&[good.as_slice(), &[0]].concat(), "longer");
    fs::write(&path, &good).unwrap();
    session.load(&path).unwrap();
    assert_eq!(
        logits(&mut session),
        fresh(&sample.model, &config, &tokens(4))
    );
}

#[test]
fn headers_that_lie_under_a_good_hash_are_refused() {
    let sample = open(&recipe());
    let config = configs().next().unwrap();
    let path = saved(&sample, &config, 20);
    let good = fs::read(&path).unwrap();
    // Tokens, tokens run, earliest position, zeros.
    for (at, value) in [
        (92, u32::MAX),
        (92, 0),
        (96, 20),
        (96, u32::MAX),
        (100, 30),
        (112, 0x7fc0_0000),
        (116, 1),
        (8, 2),
        (12, 7),
    ] {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        reseal(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        let mut session = sample.model.session(&config).unwrap();
        assert!(session.load(&path).is_err(), "{value} at {at}");
    }
    let mut bytes = good.clone();
    bytes[128..132].copy_from_slice(&300_u32.to_le_bytes());
    reseal(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(
        sample
            .model
            .session(&config)
            .unwrap()
            .load(&path)
            .unwrap_err()
            .kind(),
        ErrorKind::Invalid
    );
}

#[test]
fn a_missing_state_is_not_found_and_a_failed_save_leaves_the_old_one() {
    let sample = open(&recipe());
    let config = configs().next().unwrap();
    let mut session: Session = sample.model.session(&config).unwrap();
    let missing = sample.folder.path().join("nowhere");
    assert_eq!(
        session.load(&missing).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert!(session.save(&missing.join("below")).is_err());
    saved(&sample, &config, 5);
    let left: Vec<_> = fs::read_dir(sample.folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().ends_with(".part")),
        "{left:?}"
    );
}

fn saved(sample: &Sample, config: &SessionConfig, n: u32) -> std::path::PathBuf {
    let path = sample.folder.path().join("state");
    let mut session = sample.model.session(config).unwrap();
    session.feed(&tokens(n)).unwrap();
    logits(&mut session);
    session.save(&path).unwrap();
    path
}

fn reseal(bytes: &mut [u8]) {
    let end = bytes.len() - 32;
    let hash = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(hash.as_bytes());
}
