//! `inkstone bench --sustain`: whether the speed lasts, and what a token costs in energy.

use core::time::Duration;
use std::io::{self, Write};
use std::time::Instant;

use inkstone_engine::{Meter, Session};
use serde_json::{Value, json};

use super::{decode, fill};

/// Some tokens that were decoded one after the other.
struct Stretch {
    /// Seconds from the beginning to its end.
    at: f64,
    /// Tokens a second.
    rate: f64,
}

/// How fast tokens came over a time.
pub(super) struct Sustained {
    /// At least one.
    stretches: Vec<Stretch>,
    tokens: u64,
    joules: Option<f64>,
}

/// Decodes again and again, `tokens` behind `depth` each time, until `seconds` have passed.
pub(super) fn sustain(
    session: &mut Session,
    depth: u32,
    tokens: u32,
    seconds: u32,
) -> anyhow::Result<Sustained> {
    let mut meter = Meter::here();
    let limit = Duration::from_secs(u64::from(seconds));
    let start = Instant::now();
    let mut sustained = Sustained {
        stretches: Vec::new(),
        tokens: 0,
        joules: meter.as_ref().map(|_| 0.0),
    };
    while sustained.stretches.is_empty() || start.elapsed() < limit {
        fill(session, depth)?;
        let before = meter.as_mut().and_then(Meter::joules);
        let taken = decode(session, tokens)?;
        let after = meter.as_mut().and_then(Meter::joules);
        let used = before.zip(after).map(|(before, after)| after - before);
        sustained.joules = sustained.joules.zip(used).map(|(sum, used)| sum + used);
        sustained.tokens += u64::from(tokens);
        sustained.stretches.push(Stretch {
            at: start.elapsed().as_secs_f64(),
            rate: f64::from(tokens) / taken,
        });
    }
    Ok(sustained)
}

impl Sustained {
    fn first(&self) -> f64 {
        self.stretches.first().map_or(0.0, |stretch| stretch.rate)
    }

    fn last(&self) -> f64 {
        self.stretches.last().map_or(0.0, |stretch| stretch.rate)
    }

    fn least(&self) -> f64 {
        let rates = self.stretches.iter().map(|stretch| stretch.rate);
        rates.fold(f64::INFINITY, f64::min)
    }

    fn joules_per_token(&self) -> Option<f64> {
        self.joules.map(|joules| joules / self.tokens as f64)
    }

    /// All of it, as JSON.
    pub(super) fn value(&self) -> Value {
        let stretches = self.stretches.iter();
        let over_time = stretches
            .map(|stretch| json!({ "seconds": stretch.at, "tokens_per_second": stretch.rate }));
        json!({
            "tokens": self.tokens,
            "first_tokens_per_second": self.first(),
            "last_tokens_per_second": self.last(),
            "least_tokens_per_second": self.least(),
            "joules_per_token": self.joules_per_token(),
            "over_time": over_time.collect::<Vec<_>>(),
        })
    }

    /// In a sentence or two.
    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let seconds = self.stretches.last().map_or(0.0, |stretch| stretch.at);
        writeln!(
            out,
            "over {seconds:.0} s decode was {:.1} tokens/s at first, {:.1} at last, {:.1} at least",
            self.first(),
            self.last(),
            self.least()
        )?;
        match self.joules_per_token() {
            Some(joules) => writeln!(out, "a token took {joules:.3} J of the processor's energy"),
            None => Ok(()),
        }
    }
}
