//! How many guesses are worth their rows: how often guesses come true, what a run of so many rows takes, and how much
//! time may be lost on trying.

/// Most kinds of guesses that a drafter tells apart.
pub(super) const KINDS: usize = 4;

/// What of the odds a further trial leaves: some twenty trials count.
const KEEP: f64 = 0.95;

/// Trials that the first estimate of odds counts for.
const PRIOR: f64 = 4.0;

/// What a new measurement counts in the average of costs.
const NEW: f64 = 0.125;

/// How many times the average a measurement counts at most: the system was busy elsewhere.
const OUTLIER: f64 = 2.0;

/// What a row is hoped to cost beside the first, as a part of it, before it was measured.
const ROW: f64 = 0.25;

/// What it is feared to cost while no run of several rows was measured.
const WORST_ROW: f64 = 0.5;

/// How many times the cost of the rows below it is feared of one that was not measured.
const STEEPER: f64 = 2.0;

/// What must be gained, as a part of the plain rate.
const MARGIN: f64 = 0.03;

/// What may be lost on guesses, as a part of all time spent.
const LOSS: f64 = 0.01;

/// What may be lost in the beginning, in tokens' times.
const FREE: f64 = 0.5;

/// What is kept of gains to be lost again, in tokens' times.
const CREDIT: f64 = 4.0;

/// How often guesses of one kind come true.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Odds {
    hits: f64,
    trials: f64,
}

impl Odds {
    pub(super) fn new(probability: f64) -> Odds {
        Odds {
            hits: PRIOR * probability,
            trials: PRIOR,
        }
    }

    pub(super) fn note(&mut self, hit: bool) {
        self.trials = self.trials * KEEP + 1.0;
        self.hits = self.hits * KEEP + f64::from(u8::from(hit));
    }

    pub(super) fn probability(&self) -> f64 {
        self.hits / self.trials
    }
}

/// What the search for the best number of guesses starts from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    /// How often a guess comes true if those before it did.
    pub(super) probability: f64,
    /// Guesses there are at most.
    pub(super) most: usize,
    /// Seconds that a guess itself takes.
    pub(super) guess: f64,
}

/// Costs and balance of one session.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// Seconds of a run by its rows less one; 0 where none was measured.
    costs: Vec<f64>,
    /// Seconds spent on drawing tokens.
    spent: f64,
    /// Seconds won by guesses that came true, less those that all guesses took.
    balance: f64,
}

impl Policy {
    /// For at most `depth` guesses.
    pub(super) fn new(depth: usize) -> Policy {
        Policy {
            costs: vec![0.0; depth + 1],
            spent: 0.0,
            balance: 0.0,
        }
    }

    /// Forgets what runs take: another number of workers runs them.
    pub(super) fn forget_costs(&mut self) {
        self.costs.fill(0.0);
    }

    /// A run of `rows` rows took `seconds`, its guesses `guessing` before.
    pub(super) fn ran(&mut self, rows: usize, seconds: f64, guessing: f64) {
        let cost = &mut self.costs[rows - 1];
        if *cost == 0.0 {
            *cost = seconds;
        }
        *cost += NEW * (seconds.min(*cost * OUTLIER) - *cost);
        self.spent += seconds + guessing;
        if rows > 1 {
            self.balance -= guessing + (seconds - self.one().unwrap_or(0.0)).max(0.0);
        }
    }

    /// A guess came true: a run of one row was saved.
    pub(super) fn won(&mut self) {
        let one = self.one().unwrap_or(0.0);
        self.balance = (self.balance + one).min(CREDIT * one);
    }

    /// The number of guesses that gives most tokens a second, 0 where plain drawing does or where too much was lost.
    pub(super) fn depth(&self, offer: Offer) -> usize {
        let Some(one) = self.one() else {
            return 0;
        };
        let free = self.balance + FREE * one + LOSS * self.spent;
        let (mut best, mut best_rate) = (0, (1.0 + MARGIN) / one);
        let (mut tokens, mut chance) = (1.0, 1.0);
        for guesses in 1..=offer.most.min(self.costs.len() - 1) {
            chance *= offer.probability;
            tokens += chance;
            let guessing = offer.guess * guesses as f64;
            let seconds = |row: f64| self.cost(guesses + 1, row) + guessing;
            let rate = tokens / seconds(ROW * one);
            if rate > best_rate && seconds(self.feared(guesses, one)) - one <= free {
                (best, best_rate) = (guesses, rate);
            }
        }
        best
    }

    /// Seconds of a run of one row, once it was measured.
    pub(super) fn one(&self) -> Option<f64> {
        Some(self.costs[0]).filter(|&cost| cost > 0.0)
    }

    /// Seconds that one more row takes at worst, behind so many.
    fn feared(&self, rows: usize, one: f64) -> f64 {
        let measured = (2..=rows).rev().find(|&rows| self.costs[rows - 1] > 0.0);
        measured.map_or(WORST_ROW * one, |rows| {
            let each = (self.costs[rows - 1] - one) / (rows - 1) as f64;
            (STEEPER * each).max(ROW * one)
        })
    }

    /// Seconds of a run of `rows` rows: measured, or on a straight line between those that were; beyond them a row
    /// takes `row`.
    fn cost(&self, rows: usize, row: f64) -> f64 {
        let known = |&rows: &usize| self.costs[rows - 1] > 0.0;
        let below = (1..=rows).rev().find(known).unwrap_or(1);
        let low = self.costs[below - 1].max(self.costs[0]);
        let more = (rows - below) as f64;
        match (rows..=self.costs.len()).find(known) {
            Some(above) if above > below => {
                low + (self.costs[above - 1] - low).max(0.0) * more / (above - below) as f64
            }
            Some(_) => low,
            None => low + more * row,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(probability: f64) -> Offer {
        Offer {
            probability,
            most: 8,
            guess: 0.0,
        }
    }

    /// A session in which a row beside the first costs `row` of it.
    fn measured(row: f64) -> Policy {
        let mut policy = Policy::new(8);
        for _ in 0..1000 {
            policy.ran(1, 1.0, 0.0);
        }
        for rows in 2..=9 {
            policy.ran(rows, 1.0 + row * (rows - 1) as f64, 0.0);
        }
        policy.balance = 0.0;
        policy
    }

    #[test]
    fn nothing_is_guessed_before_a_plain_run_was_measured() {
        assert_eq!(Policy::new(8).depth(offer(1.0)), 0);
    }

    #[test]
    fn more_is_guessed_the_likelier_and_the_cheaper_guesses_are() {
        assert_eq!(measured(0.1).depth(offer(1.0)), 8);
        assert_eq!(measured(1.0).depth(offer(0.9)), 0);
        let depths = [0.05, 0.4, 0.7, 0.95].map(|p| measured(0.2).depth(offer(p)));
        assert!(depths.is_sorted(), "{depths:?}");
        assert_eq!((depths[0], depths[3]), (0, 8));
        let dear = Offer {
            guess: 1.0,
            ..offer(0.9)
        };
        assert_eq!(measured(0.1).depth(dear), 0);
    }

    #[test]
    fn guesses_that_always_fail_cost_a_hundredth_of_all_time_and_one_token() {
        for row in [0.05, 0.2, 0.9] {
            let mut policy = Policy::new(8);
            let (mut plain, mut spent) = (0.0, 0.0);
            for _ in 0..5000 {
                // The odds are taken for good however often a guess fails.
                let depth = policy.depth(offer(0.95));
                let seconds = 1.0 + row * depth as f64;
                policy.ran(depth + 1, seconds, 0.0);
                plain += 1.0;
                spent += seconds;
                assert!(spent - plain <= 1.0 + 0.0101 * spent, "{spent} for {plain}");
            }
            assert!(spent > plain, "it tried");
        }
    }

    #[test]
    fn odds_follow_what_happens() {
        let mut odds = Odds::new(0.5);
        (0..100).for_each(|_| odds.note(true));
        assert!(odds.probability() > 0.95);
        (0..30).for_each(|_| odds.note(false));
        assert!(odds.probability() < 0.25);
    }
}
