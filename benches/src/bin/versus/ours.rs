//! Inkstone as an [`Engine`].

use anyhow::{Context as _, Result, ensure};
use inkstone_benches::protocol::{Open, Text};
use inkstone_benches::serve::Engine;
use inkstone_benches::token;
use inkstone_cpu::Isa;
use inkstone_engine::{Model, Session, SessionConfig, Step};
use inkstone_eval::{Options, perplexity};
use std::fs;

/// A session over a model.
pub(crate) struct Ours {
    session: Session,
    vocabulary: u32,
}

impl Engine for Ours {
    fn open(open: &Open) -> Result<Ours> {
        let model = Model::open(&open.path)?;
        let config = SessionConfig {
            context: Some(open.context),
            threads: Some(open.threads),
            rewind: open.rewind,
            ..SessionConfig::default()
        };
        let session = model.session(&config)?;
        Ok(Ours {
            session,
            vocabulary: model.spec().vocabulary,
        })
    }

    fn build(&self) -> String {
        let isa = Isa::from_env().map_or("?", Isa::name);
        let checks = if cfg!(debug_assertions) {
            ", with debug assertions"
        } else {
            ""
        };
        format!(
            "inkstone {}, kernels for {isa} chosen at run time, batches of {}{checks}",
            env!("CARGO_PKG_VERSION"),
            self.session.plan().config.batch
        )
    }

    fn rewind(&mut self, to: u32) -> Result<()> {
        Ok(self.session.rewind(to)?)
    }

    fn run(&mut self, from: u32, count: u32) -> Result<()> {
        for position in from..from + count {
            self.session.feed(&[token(position, self.vocabulary)])?;
        }
        loop {
            match self.session.advance()? {
                Step::Ready => break,
                Step::More { .. } => {}
                Step::Idle => anyhow::bail!("the session has nothing to run"),
            }
        }
        let first = self.session.logits(0).first();
        ensure!(
            first.context("no logits")?.is_finite(),
            "the logits are not finite"
        );
        Ok(())
    }

    fn perplexity(text: &Text) -> Result<(f64, u32)> {
        let model = Model::open(&text.model)?;
        let config = SessionConfig {
            threads: Some(text.threads),
            ..SessionConfig::default()
        };
        let options = Options {
            chunks: Some(text.chunks),
            ..Options::default()
        };
        let words = fs::read_to_string(&text.text)?;
        let report = perplexity(&model, &config, &words, &options, &mut |_| ())?;
        Ok((report.perplexity, report.chunks))
    }
}
