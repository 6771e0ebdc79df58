//! Inkstone as a [`Source`]: a session over a `.ink` file.

use crate::Source;
use anyhow::{Result, ensure};
use inkstone_engine::{Activations, KVS, Model, Session, SessionConfig};
use std::path::Path;

/// One sequence that Inkstone computes.
pub struct Ink {
    session: Session,
    vocabulary: usize,
    logits: Vec<f32>,
}

/// How a session computes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most tokens of a sequence.
    pub context: u32,
    /// Stored form of keys and values, by its name.
    pub kv: String,
    /// Multiply decoded weights with activations that are not rounded.
    pub exact: bool,
    /// Threads that compute.
    pub threads: u32,
}

impl Ink {
    /// A session over the file.
    pub fn open(path: &Path, settings: &Settings) -> Result<Self> {
        let model = Model::open(path)?;
        let kv = KVS.iter().find(|(name, _)| *name == settings.kv);
        ensure!(
            kv.is_some(),
            "{}: no such form of keys and values",
            settings.kv
        );
        let config = SessionConfig {
            context: Some(settings.context),
            threads: Some(settings.threads),
            batch: 64,
            logits: 64,
            kv: kv.map_or_else(Default::default, |(_, kv)| *kv),
            activations: if settings.exact {
                Activations::F32
            } else {
                Activations::Int8
            },
            ..SessionConfig::default()
        };
        let vocabulary = model.spec().vocabulary as usize;
        Ok(Ink {
            session: model.session(&config)?,
            vocabulary,
            logits: Vec::new(),
        })
    }
}

impl Source for Ink {
    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn restart(&mut self) -> Result<()> {
        Ok(self.session.rewind(0)?)
    }

    fn feed(&mut self, tokens: &[u32]) -> Result<&[f32]> {
        self.logits.clear();
        self.session.feed(tokens)?;
        loop {
            let rows = self.session.advance_all()?;
            if rows == 0 {
                return Ok(&self.logits);
            }
            for row in 0..rows {
                self.logits.extend_from_slice(self.session.logits(row));
            }
        }
    }
}
