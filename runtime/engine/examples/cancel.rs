//! `cancel MODEL.ink [SAMPLES]`: how long a cancel takes to be obeyed, in a prompt and in an answer.
//!
//! Another thread cancels at some moment of a run; what is measured is the time until the session's thread is back.

#![allow(clippy::print_stdout)]

use core::error::Error;
use core::time::Duration;
use std::path::Path;
use std::thread;
use std::time::Instant;

use inkstone_engine::{Canceller, ErrorKind, Event, Model, Session, SessionConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: cancel MODEL.ink [SAMPLES]")?;
    let samples = arguments.next().map_or(Ok(200), |n| n.parse())?;
    let model = Model::open(Path::new(&path))?;
    for (name, prompt) in [("prompt of 512", 512), ("answer", 1)] {
        let mut waits = Vec::new();
        for sample in 0..samples {
            let mut session = model.session(&SessionConfig {
                context: Some(2048),
                ..SessionConfig::default()
            })?;
            waits.push(wait(&mut session, prompt, sample)?);
        }
        waits.sort_unstable();
        let at = |share: usize| waits[(waits.len() * share / 100).min(waits.len() - 1)];
        println!(
            "{name}: median {:?}, 99 % within {:?}, longest {:?}",
            at(50),
            at(99),
            at(100)
        );
    }
    Ok(())
}

/// From the cancel of a run, after a time that differs from sample to sample, to the session's answer.
fn wait(session: &mut Session, prompt: u32, sample: u32) -> Result<Duration, Box<dyn Error>> {
    let tokens: Vec<u32> = (0..prompt).map(|i| 1000 + i * 7 % 4000).collect();
    let canceller = session.canceller();
    let delay = Duration::from_micros(u64::from(sample * 7919 % 60_000));
    session.feed(&tokens)?;
    thread::scope(|scope| {
        let called = scope.spawn(move || cancel_after(&canceller, delay));
        loop {
            match session.step() {
                Err(e) if e.kind() == ErrorKind::Cancelled => break,
                Err(e) => return Err(e.into()),
                Ok(Event::Stop(_)) => session.feed(&tokens[..1])?,
                Ok(_) => {}
            }
        }
        let back = Instant::now();
        let called = called.join().map_err(|_| "the other thread failed")?;
        Ok(back.saturating_duration_since(called))
    })
}

fn cancel_after(canceller: &Canceller, delay: Duration) -> Instant {
    thread::sleep(delay);
    let called = Instant::now();
    canceller.cancel();
    called
}
