//! Weights that are read as they are used.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::sample::{draw, logits, open, recipe, tokens, windowed};
use inkstone_engine::{Adapter, Canceller, ErrorKind, Kv, Mapped, Model, SessionConfig};

/// A model of a file's bytes, and how many of them were read.
fn streamed(bytes: Vec<u8>) -> Result<(Model, Arc<AtomicUsize>), inkstone_engine::Error> {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let length = bytes.len();
    let fill = move |offset: u64, to: &mut [u8]| {
        counted.fetch_add(to.len(), Ordering::Relaxed);
        let from = bytes.get(offset as usize..).and_then(|b| b.get(..to.len()));
        to.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    let mapped = Mapped::stream(length, Box::new(fill), Path::new("streamed"))?;
    Ok((Model::of(mapped)?, read))
}

#[test]
fn the_same_bits_come_from_less_memory() {
    for recipe in [recipe(), windowed()] {
        let sample = open(&recipe);
        let bytes = std::fs::read(sample.model.path()).unwrap();
        let (model, read) = streamed(bytes.clone()).unwrap();
        assert_eq!(model.id(), sample.model.id());
        for (threads, batch, kv) in [(1, 1, Kv::F16), (2, 8, Kv::Int8), (3, 64, Kv::F16)] {
            let config = SessionConfig {
                context: Some(96),
                threads: Some(threads),
                batch,
                kv,
                ..SessionConfig::default()
            };
            let plan = model.plan(&config).unwrap();
            assert!(plan.mapped < sample.model.plan(&config).unwrap().mapped);
            let [ours, theirs] = [&model, &sample.model].map(|model| {
                let mut session = model.session(&config).unwrap();
                session.feed(&tokens(40)).unwrap();
                (logits(&mut session), draw(&mut session, 10))
            });
            assert_eq!(ours, theirs);
        }
        assert!(read.load(Ordering::Relaxed) > bytes.len());
    }
}

#[test]
fn a_read_that_fails_is_of_the_run_that_asked_alone() {
    let sample = open(&recipe());
    let bytes = std::fs::read(sample.model.path()).unwrap();
    let canceller: Arc<Mutex<Option<Canceller>>> = Arc::default();
    let armed = Arc::clone(&canceller);
    let length = bytes.len();
    let fill = move |offset: u64, to: &mut [u8]| {
        if let Some(canceller) = armed.lock().unwrap().take() {
            // The run is given up, and nobody hears of the read.
            canceller.cancel();
            return Err(io::ErrorKind::Other.into());
        }
        to.copy_from_slice(&bytes[offset as usize..][..to.len()]);
        Ok(())
    };
    let mapped = Mapped::stream(length, Box::new(fill), Path::new("streamed")).unwrap();
    let model = Model::of(mapped).unwrap();
    let config = SessionConfig {
        context: Some(96),
        ..SessionConfig::default()
    };
    let mut session = model.session(&config).unwrap();
    session.feed(&tokens(20)).unwrap();
    *canceller.lock().unwrap() = Some(session.canceller());
    assert_eq!(session.step().unwrap_err().kind(), ErrorKind::Cancelled);
    let mut other = model.session(&config).unwrap();
    other.feed(&tokens(20)).unwrap();
    let theirs = draw(&mut other, 5);
    assert_eq!(draw(&mut session, 5), theirs);
}

#[test]
fn what_needs_all_of_a_file_is_refused() {
    let sample = open(&recipe());
    let bytes = std::fs::read(sample.model.path()).unwrap();
    let (model, _) = streamed(bytes.clone()).unwrap();
    assert!(model.is_streamed() && !sample.model.is_streamed());
    let kind = |error: inkstone_engine::Error| error.kind();
    assert_eq!(
        kind(model.verify(&mut |_, _| ()).unwrap_err()),
        ErrorKind::Unsupported
    );
    let none: &[(Adapter, f32)] = &[];
    assert_eq!(
        kind(model.attach(none).unwrap_err()),
        ErrorKind::Unsupported
    );
    let config = SessionConfig {
        device: "reference".to_owned(),
        ..SessionConfig::default()
    };
    assert_eq!(
        kind(model.session(&config).err().unwrap()),
        ErrorKind::Unsupported
    );
    // The name is in a record behind the weights.
    assert!(model.manifest().unwrap().is_none());
    for length in [0, 10, 5000, 20_000, bytes.len() - 1] {
        let refused = streamed(bytes[..length].to_vec()).err().unwrap();
        assert!(
            matches!(kind(refused), ErrorKind::Damaged | ErrorKind::NotAModel),
            "{length} bytes"
        );
    }
    for at in (0..bytes.len().min(40_000)).step_by(97) {
        let mut hostile = bytes.clone();
        hostile[at] ^= 0x40;
        // Whatever it is taken for, nothing panics.
        if let Ok((model, _)) = streamed(hostile) {
            let mut session = model.session(&SessionConfig::default()).unwrap();
            session.feed(&[1, 2, 3]).unwrap();
            let _ = session.step();
        }
    }
}
