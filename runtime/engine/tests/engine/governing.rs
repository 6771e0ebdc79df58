//! A host that says how hot it is, and what the session makes of it.

use crate::sample::{configs, draw, open, recipe, tokens};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use inkstone_engine::{
    CAPS, Conditions, ErrorKind, Generation, Options, Session, SessionConfig, Speculation, Thermal,
};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A host whose heat is set from outside; it counts how often it is asked.
#[derive(Clone, Default)]
struct Host {
    conditions: Arc<Mutex<Conditions>>,
    asked: Arc<AtomicUsize>,
}

impl Host {
    fn say(&self, thermal: Thermal) {
        self.conditions.lock().unwrap().thermal = thermal;
    }

    fn governs(&self, session: &mut Session) {
        let host = self.clone();
        session.govern(move || {
            host.asked.fetch_add(1, Ordering::Relaxed);
            *host.conditions.lock().unwrap()
        });
    }
}

fn refrain() -> Vec<u32> {
    tokens(8).repeat(3)
}

#[test]
fn heat_never_changes_what_is_drawn() {
    let sample = open(&recipe());
    for config in configs() {
        let config = SessionConfig {
            threads: Some(4),
            speculation: Speculation::Depth(7),
            draft: Some(sample.model.clone()),
            ..config
        };
        let mut cool = sample.model.session(&config).unwrap();
        cool.feed(&refrain()).unwrap();
        let expected = draw(&mut cool, 40);
        let host = Host::default();
        let mut session = sample.model.session(&config).unwrap();
        host.governs(&mut session);
        session.feed(&refrain()).unwrap();
        let mut drawn = Vec::new();
        for caps in CAPS.iter().chain(CAPS.iter().rev()) {
            host.say(caps.thermal);
            drawn.extend(draw(&mut session, 5));
        }
        assert_eq!(drawn, expected);
        assert!(host.asked.load(Ordering::Relaxed) >= 8);
    }
}

#[test]
fn each_level_takes_what_the_table_leaves() {
    let sample = open(&recipe());
    let config = SessionConfig {
        context: Some(2000),
        speculation: Speculation::Depth(7),
        draft: Some(sample.model.clone()),
        ..configs().next().unwrap()
    };
    for caps in CAPS {
        let host = Host::default();
        host.say(caps.thermal);
        let mut session = sample.model.session(&config).unwrap();
        assert_eq!(session.caps(), &CAPS[0]);
        host.governs(&mut session);
        session.feed(&refrain()).unwrap();
        draw(&mut session, 1);
        assert_eq!(session.caps(), caps);
        // There is always something to guess: every run has as many guesses as may be made.
        let before = (host.asked.load(Ordering::Relaxed), session.guesses());
        let each = caps.guesses.min(7) as usize;
        draw(&mut session, 10 * (1 + each));
        let asked = host.asked.load(Ordering::Relaxed) - before.0;
        assert!(asked >= 10);
        let drafted = session.guesses().drafted - before.1.drafted;
        assert_eq!(drafted, (asked * each) as u64);
    }
}

#[test]
fn a_hot_session_rests() {
    let sample = open(&recipe());
    let config = SessionConfig {
        context: Some(2000),
        batch: 500,
        speculation: Speculation::Off,
        ..configs().next().unwrap()
    };
    let host = Host::default();
    let mut session = sample.model.session(&config).unwrap();
    host.governs(&mut session);
    let mut seconds = |thermal| {
        host.say(thermal);
        session.rewind(0).unwrap();
        session.feed(&tokens(2000)).unwrap();
        let start = Instant::now();
        while session.done() < 2000 {
            session.advance().unwrap();
        }
        start.elapsed().as_secs_f64()
    };
    let best = |times: [f64; 3]| times.into_iter().fold(f64::INFINITY, f64::min);
    let cool = best([(); 3].map(|()| seconds(Thermal::Nominal)));
    let hot = best([(); 3].map(|()| seconds(Thermal::Critical)));
    assert!(hot > 1.5 * cool, "{hot} s hot, {cool} s cool");
}

#[test]
fn a_rest_ends_when_the_session_is_to_stop() {
    let sample = open(&recipe());
    let config = SessionConfig {
        context: Some(20_000),
        batch: 20_000,
        ..configs().next().unwrap()
    };
    let host = Host::default();
    host.say(Thermal::Critical);
    let mut session = sample.model.session(&config).unwrap();
    host.governs(&mut session);
    session.feed(&tokens(4000)).unwrap();
    let canceller = session.canceller();
    let waiting = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(5));
        canceller.cancel();
    });
    // Whether it is cut short amid the run or amid the rest, the step after it is not taken.
    let first = session.step().map(|_| ());
    waiting.join().unwrap();
    let cancelled = |result: Result<(), inkstone_engine::Error>| {
        result.is_err_and(|error| error.kind() == ErrorKind::Cancelled)
    };
    assert!(cancelled(first) || cancelled(session.step().map(|_| ())));
}

#[test]
fn an_answer_tells_guesses_and_energy() {
    let sample = open(&recipe());
    for config in configs() {
        let config = SessionConfig {
            speculation: Speculation::Depth(3),
            ..config
        };
        let mut session = sample.model.session(&config).unwrap();
        let options = Options {
            limit: Some(30),
            ignore_stops: true,
            ..Options::default()
        };
        let mut last = inkstone_engine::Guesses::default();
        for _ in 0..2 {
            session.rewind(0).unwrap();
            session.feed(&refrain()).unwrap();
            let mut answer = Generation::new(&sample.model, &options).unwrap();
            answer.finish(&mut session, &mut Vec::new()).unwrap();
            let (stats, now) = (answer.stats(), session.guesses());
            assert_eq!(u64::from(stats.drafted), now.drafted - last.drafted);
            assert_eq!(u64::from(stats.accepted), now.accepted - last.accepted);
            assert!(stats.joules.is_none_or(|joules| joules >= 0.0));
            last = now;
        }
        assert!(last.accepted > 0);
    }
}
