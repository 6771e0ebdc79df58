//! A text as a vector: what the final norm gives of its tokens, pooled.

use std::time::Instant;

use inkstone_model::{Backend, SessionError, Slot, Step, math};

use crate::error::{Error, ErrorKind, Result};
use crate::session::Session;

/// How the vectors of tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// The last token's.
    Last,
    /// The first token's.
    First,
}

/// Every pooling and its name, in the order of the C library's `ink_pooling`.
pub static POOLINGS: &[(&str, Pooling)] = &[
    ("mean", Pooling::Mean),
    ("last", Pooling::Last),
    ("first", Pooling::First),
];

impl Session {
    /// Runs `tokens` anew and writes the vector of the text to `out`, which is as wide as the model; of length 1 where
    /// `normalise` is set (as [`math::sum`] sums squares). Tokens ascend in a mean, whatever the batch.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a session that was not made [for embeddings](crate::SessionConfig::embeddings), for no
    /// tokens, a token beyond the vocabulary or an `out` of another width; [`ErrorKind::ContextFull`];
    /// [`ErrorKind::Cancelled`]; [`ErrorKind::NotFinite`].
    pub fn embed(
        &mut self,
        tokens: &[u32],
        pooling: Pooling,
        normalise: bool,
        out: &mut [f32],
    ) -> Result<()> {
        let width = self.plan.layout.spec.width as usize;
        if !self.config.embeddings {
            let text = "the session was made to draw tokens, not for embeddings";
            return Err(Error::text(ErrorKind::Invalid, text));
        }
        if tokens.is_empty() || out.len() != width {
            let text = format!(
                "{} tokens and room for {} numbers; one token at least is embedded, in {width} numbers",
                tokens.len(),
                out.len()
            );
            return Err(Error::text(ErrorKind::Invalid, text));
        }
        self.clear();
        let context = self.core.context();
        if tokens.len() > context {
            let wanted = tokens.len();
            return Err(SessionError::ContextFull { context, wanted }.into());
        }
        self.core.feed(tokens)?;
        let pooled = self.pool(pooling, out);
        self.clear();
        pooled?;
        if pooling == Pooling::Mean {
            out.iter_mut().for_each(|x| *x /= tokens.len() as f32);
        }
        if normalise {
            let length = math::sqrt(math::sum(out, |x| x * x)).max(f32::MIN_POSITIVE);
            out.iter_mut().for_each(|x| *x /= length);
        }
        if out.iter().all(|x| x.is_finite()) {
            return Ok(());
        }
        Err(SessionError::Fault(inkstone_model::Fault::NotFinite { row: 0 }).into())
    }

    /// Runs what was fed; the sum of the rows that count.
    fn pool(&mut self, pooling: Pooling, out: &mut [f32]) -> Result<()> {
        let batch = self.plan.config.batch as usize;
        out.fill(0.0);
        loop {
            let before = self.core.done();
            self.heed()?;
            self.obey();
            let (step, _) = self.run(Instant::now(), |core, stop| {
                core.step_silent(batch, Some(stop))
            })?;
            let (done, all) = (self.core.done(), self.core.tokens().len());
            for token in before..done {
                let counts = match pooling {
                    Pooling::Mean => true,
                    Pooling::Last => token + 1 == all,
                    Pooling::First => token == 0,
                };
                if counts {
                    let (backend, row) = (self.core.backend(), &mut self.row);
                    backend.read(Slot::Normed, token - before, row);
                    out.iter_mut().zip(&*row).for_each(|(out, x)| *out += x);
                }
            }
            if !matches!(step, Step::More { .. }) {
                return Ok(());
            }
        }
    }
}
