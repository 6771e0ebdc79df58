//! Heat and power: what the host says of them, and what a session takes at which level.

use core::time::Duration;
use std::time::Instant;

use crate::energy::Meter;

/// How hot the device is, in the four words that systems have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Thermal {
    /// All is well.
    #[default]
    Nominal,
    /// Warmer than it should stay for long.
    Fair,
    /// Hot: the system has begun to slow things down.
    Serious,
    /// So hot that it must cool down now.
    Critical,
}

/// What the host says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Conditions {
    /// How hot the device is.
    pub thermal: Thermal,
    /// Watts that may be drawn on average; `None` for no bound.
    pub budget_watts: Option<f32>,
    /// Watts that are drawn, where the host knows; else they are measured where the system tells.
    pub drawn_watts: Option<f32>,
}

/// What a session takes at a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// The level, and the least heat at which it is in force.
    pub thermal: Thermal,
    /// Workers in use, in hundredths of all; at least one is.
    pub workers_percent: u32,
    /// Time at work, in hundredths of all time.
    pub duty_percent: u32,
    /// Guesses at most at a time.
    pub guesses: u32,
}

/// What is taken at each level, the coolest first. Nothing of it changes what is drawn.
pub static CAPS: &[Caps] = &[
    Caps {
        thermal: Thermal::Nominal,
        workers_percent: 100,
        duty_percent: 100,
        guesses: u32::MAX,
    },
    Caps {
        thermal: Thermal::Fair,
        workers_percent: 100,
        duty_percent: 85,
        guesses: 4,
    },
    Caps {
        thermal: Thermal::Serious,
        workers_percent: 50,
        duty_percent: 70,
        guesses: 2,
    },
    Caps {
        thermal: Thermal::Critical,
        workers_percent: 25,
        duty_percent: 40,
        guesses: 0,
    },
];

/// Questions between two looks at the power drawn: what was changed must have had time to show.
const LOOK: u32 = 8;

/// Below this part of the budget a level is taken back.
const AMPLE: f32 = 0.8;

/// The longest rest after one run.
const LONGEST_REST: Duration = Duration::from_secs(1);

impl Caps {
    /// Workers in use of so many.
    pub fn workers(&self, all: u32) -> u32 {
        (all * self.workers_percent / 100).max(1)
    }

    /// How long to rest after so much work.
    pub fn rest(&self, work: Duration) -> Duration {
        let idle = 100_u32.saturating_sub(self.duty_percent);
        (work * idle / self.duty_percent.max(1)).min(LONGEST_REST)
    }
}

/// Asks the host and holds its answers against the table.
pub(crate) struct Governor {
    ask: Box<dyn FnMut() -> Conditions + Send>,
    meter: Option<Meter>,
    /// When the meter was last read, and what it said.
    read: (Instant, f64),
    /// Questions since the last look at the power.
    asked: u32,
    /// Level that the power drawn demands.
    power: usize,
    pub(crate) caps: &'static Caps,
}

impl Governor {
    pub(crate) fn new(
        ask: Box<dyn FnMut() -> Conditions + Send>,
        meter: Option<Meter>,
    ) -> Governor {
        Governor {
            ask,
            meter,
            read: (Instant::now(), 0.0),
            asked: 0,
            power: 0,
            caps: &CAPS[0],
        }
    }

    /// Asks the host; whether other caps are in force than before.
    pub(crate) fn poll(&mut self) -> bool {
        let conditions = (self.ask)();
        self.asked += 1;
        if self.asked >= LOOK {
            self.asked = 0;
            let drawn = conditions.drawn_watts.or_else(|| self.measured());
            self.weigh(drawn, conditions.budget_watts);
        }
        let heat = CAPS
            .iter()
            .rposition(|caps| conditions.thermal >= caps.thermal);
        let caps = &CAPS[heat.unwrap_or(0).max(self.power)];
        let changed = caps != self.caps;
        self.caps = caps;
        changed
    }

    /// One level up where too much is drawn, one down where the budget is ample or gone.
    fn weigh(&mut self, drawn: Option<f32>, budget: Option<f32>) {
        let Some(budget) = budget else {
            self.power = 0;
            return;
        };
        match drawn {
            Some(drawn) if drawn > budget => self.power = (self.power + 1).min(CAPS.len() - 1),
            Some(drawn) if drawn < AMPLE * budget => self.power = self.power.saturating_sub(1),
            _ => {}
        }
    }

    /// Watts drawn since the last look, where the system tells.
    fn measured(&mut self) -> Option<f32> {
        let joules = self.meter.as_mut()?.joules()?;
        let now = Instant::now();
        let (then, before) = core::mem::replace(&mut self.read, (now, joules));
        let seconds = (now - then).as_secs_f64();
        (seconds > 0.0).then(|| ((joules - before) / seconds) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A governor whose host says what stands in the cell.
    fn governor(meter: Option<Meter>) -> (Governor, Arc<Mutex<Conditions>>) {
        let says = Arc::new(Mutex::new(Conditions::default()));
        let host = Arc::clone(&says);
        let ask = Box::new(move || *host.lock().unwrap());
        (Governor::new(ask, meter), says)
    }

    fn after(governor: &mut Governor, polls: u32) -> Thermal {
        (0..polls).for_each(|_| {
            governor.poll();
        });
        governor.caps.thermal
    }

    #[test]
    fn the_table_has_a_row_for_each_level_and_takes_ever_less() {
        let levels = [
            Thermal::Nominal,
            Thermal::Fair,
            Thermal::Serious,
            Thermal::Critical,
        ];
        assert!(CAPS.iter().map(|caps| caps.thermal).eq(levels));
        let less = |a: &Caps, b: &Caps| {
            a.workers_percent >= b.workers_percent
                && a.duty_percent > b.duty_percent
                && a.guesses > b.guesses
        };
        assert!(CAPS.windows(2).all(|pair| less(&pair[0], &pair[1])));
        assert_eq!(CAPS[0].rest(Duration::from_secs(9)), Duration::ZERO);
        assert!(CAPS.iter().all(|caps| caps.workers(1) == 1));
        assert_eq!(CAPS[2].workers(8), 4);
    }

    #[test]
    fn heat_is_obeyed_at_once() {
        let (mut governor, says) = governor(None);
        assert!(!governor.poll());
        for caps in CAPS.iter().rev().chain(CAPS) {
            says.lock().unwrap().thermal = caps.thermal;
            let before = governor.caps;
            assert_eq!(governor.poll(), caps != before);
            assert_eq!(governor.caps, caps);
            assert!(!governor.poll());
        }
    }

    #[test]
    fn rests_keep_the_duty_and_end() {
        let work = Duration::from_millis(40);
        assert_eq!(CAPS[3].rest(work), Duration::from_millis(60));
        assert_eq!(CAPS[3].rest(Duration::from_secs(1000)), LONGEST_REST);
    }

    #[test]
    fn a_budget_is_kept_step_by_step() {
        let (mut governor, says) = governor(None);
        let say = |drawn, budget| {
            *says.lock().unwrap() = Conditions {
                budget_watts: budget,
                drawn_watts: drawn,
                ..Conditions::default()
            };
        };
        say(Some(9.0), Some(6.0));
        assert_eq!(after(&mut governor, LOOK - 1), Thermal::Nominal);
        assert_eq!(after(&mut governor, 1), Thermal::Fair);
        assert_eq!(after(&mut governor, 5 * LOOK), Thermal::Critical);
        say(Some(5.5), Some(6.0));
        assert_eq!(after(&mut governor, 5 * LOOK), Thermal::Critical);
        say(Some(3.0), Some(6.0));
        assert_eq!(after(&mut governor, LOOK), Thermal::Serious);
        say(Some(3.0), None);
        assert_eq!(after(&mut governor, LOOK), Thermal::Nominal);
        say(None, Some(6.0));
        assert_eq!(after(&mut governor, 5 * LOOK), Thermal::Nominal);
    }

    #[test]
    fn what_the_host_does_not_know_is_measured() {
        let folder = tempfile::tempdir().unwrap();
        let zone = folder.path().join("sys/class/powercap/intel-rapl:0");
        std::fs::create_dir_all(&zone).unwrap();
        let draw = |joules: u64| {
            std::fs::write(zone.join("energy_uj"), (joules * 1_000_000).to_string()).unwrap();
        };
        draw(0);
        let (mut governor, says) = governor(Meter::below(folder.path()));
        says.lock().unwrap().budget_watts = Some(10.0);
        draw(1_000_000);
        assert_eq!(after(&mut governor, LOOK), Thermal::Fair);
        assert_eq!(after(&mut governor, LOOK), Thermal::Nominal);
    }
}
