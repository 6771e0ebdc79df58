//! The tokens still in the running, in one of two orders, with sums that do not depend on how they were sorted.

use core::cmp::Ordering;

use inkstone_model::math::{LANES, exp};

/// A token in the running.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) id: u32,
    pub(super) logit: f32,
    /// What typical sampling sorts by.
    pub(super) key: f32,
}

/// The tokens in the running: in ascending id at first, in descending logit once something sorted them.
#[derive(Debug, Clone)]
pub(super) struct Candidates {
    items: Vec<Candidate>,
    sorted: bool,
}

/// How many candidates a lazy sort puts in order at first.
const FIRST: usize = 128;

impl Candidates {
    pub(super) fn with_capacity(vocabulary: usize) -> Self {
        Self {
            items: Vec::with_capacity(vocabulary.max(1)),
            sorted: false,
        }
    }

    /// Fills in the tokens of `logits` that can be chosen; token 0 stands in where there is none.
    pub(super) fn load(&mut self, logits: &[f32]) {
        self.items.clear();
        self.sorted = false;
        let candidate = |(id, &logit): (usize, &f32)| Candidate {
            id: id as u32,
            // Adding zero makes −0 and +0 tie.
            logit: logit.min(f32::MAX) + 0.0,
            key: 0.0,
        };
        self.items.extend(logits.iter().enumerate().map(candidate));
        let usable = |logit: f32| logit > f32::NEG_INFINITY;
        if !logits.iter().fold(true, |all, &x| all & usable(x)) {
            self.items.retain(|item| usable(logits[item.id as usize]));
        }
        if self.items.is_empty() {
            self.items.push(Candidate {
                id: 0,
                logit: 0.0,
                key: 0.0,
            });
        }
    }

    pub(super) fn items(&self) -> &[Candidate] {
        &self.items
    }

    /// Every logit, to be changed in a way that keeps their order.
    pub(super) fn logits_mut(&mut self) -> impl Iterator<Item = &mut f32> {
        self.items.iter_mut().map(|item| &mut item.logit)
    }

    /// The logit of token `id`, before anything is sorted.
    pub(super) fn logit_mut(&mut self, id: u32) -> Option<&mut f32> {
        debug_assert!(
            !self.sorted,
            "samplers that change single logits stand first in the table"
        );
        let index = self.items.binary_search_by_key(&id, |item| item.id).ok()?;
        Some(&mut self.items[index].logit)
    }

    /// The highest logit.
    pub(super) fn highest(&self) -> f32 {
        if self.sorted {
            return self.items[0].logit;
        }
        let mut lanes = [f32::MIN; LANES];
        for items in self.items.chunks(LANES) {
            for (lane, item) in lanes.iter_mut().zip(items) {
                *lane = if item.logit > *lane {
                    item.logit
                } else {
                    *lane
                };
            }
        }
        lanes.into_iter().fold(f32::MIN, f32::max)
    }

    /// The softmax's sum: `Σ exp(logit − highest)`, in the order of the candidates.
    pub(super) fn total(&self) -> f64 {
        const BLOCK: usize = 64;
        let highest = self.highest();
        let mut weights = [0.0; BLOCK];
        let mut sum = 0.0;
        for items in self.items.chunks(BLOCK) {
            // Apart from the sum, which has an order, so that several are computed at a time.
            for (weight, item) in weights.iter_mut().zip(items) {
                *weight = exp(item.logit - highest);
            }
            weights[..items.len()]
                .iter()
                .for_each(|&weight| sum += f64::from(weight));
        }
        sum
    }

    /// Keeps the `count` best, at least one, in descending order.
    pub(super) fn keep_best(&mut self, count: usize) {
        self.sort_until(by_logit, |_, index| index + 1 >= count);
    }

    /// Keeps the best up to and with the first for which `enough(candidate, index)` holds, in descending order.
    pub(super) fn keep_best_until(&mut self, enough: impl FnMut(&Candidate, usize) -> bool) {
        self.sort_until(by_logit, enough);
    }

    /// Keeps those of lowest key up to and with the first for which `enough` holds, in descending order of logit.
    pub(super) fn keep_lowest_keys_until(&mut self, enough: impl FnMut(&Candidate, usize) -> bool) {
        self.sorted = false;
        self.sort_until(by_key, enough);
        self.items.sort_unstable_by(by_logit);
    }

    /// Keeps, in the order they have, those for which `wanted` holds; at least one must.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Candidate) -> bool) {
        self.items.retain(wanted);
    }

    /// Keeps those whose logit is `least` or more, and the best in any case.
    pub(super) fn keep_from(&mut self, least: f32) {
        let least = least.min(self.highest());
        self.items.retain(|item| item.logit >= least);
    }

    /// Sets each candidate's sort key from its logit.
    pub(super) fn set_keys(&mut self, key: impl Fn(f32) -> f32) {
        self.items
            .iter_mut()
            .for_each(|item| item.key = key(item.logit));
    }

    /// The token at `fraction`, in 0 ..= 1, of the summed probability.
    pub(super) fn draw(&self, fraction: f64) -> u32 {
        let highest = self.highest();
        let target = fraction * self.total();
        let mut sum = 0.0;
        let mut token = self.items[0].id;
        for item in &self.items {
            let weight = f64::from(exp(item.logit - highest));
            sum += weight;
            if weight > 0.0 {
                token = item.id;
                if sum > target {
                    break;
                }
            }
        }
        token
    }

    /// Sorts by `order` only as far as `enough` wants to see, and cuts off what follows.
    fn sort_until(
        &mut self,
        order: impl Fn(&Candidate, &Candidate) -> Ordering + Copy,
        mut enough: impl FnMut(&Candidate, usize) -> bool,
    ) {
        let mut seen = 0;
        let mut step = FIRST;
        while seen < self.items.len() {
            let end = self.items.len().min(seen + step);
            if !self.sorted {
                sort_first(&mut self.items[seen..], end - seen, order);
            }
            let enough_at = (seen..end).find(|&index| enough(&self.items[index], index));
            if let Some(index) = enough_at {
                self.items.truncate(index + 1);
                break;
            }
            seen = end;
            step *= 4;
        }
        self.sorted = true;
    }
}

/// Puts the `count` first by `order` in front, in order.
fn sort_first(
    items: &mut [Candidate],
    count: usize,
    order: impl Fn(&Candidate, &Candidate) -> Ordering + Copy,
) {
    if count < items.len() {
        items.select_nth_unstable_by(count, order);
    }
    items[..count].sort_unstable_by(order);
}

/// The lowest id of the highest logit; NaN is passed over.
pub(super) fn best(logits: &[f32]) -> u32 {
    /// Of most blocks one look at all numbers together tells that none is higher.
    const BLOCK: usize = 256;
    let mut best = 0;
    let mut highest = f32::NEG_INFINITY;
    for (block, logits) in logits.chunks(BLOCK).enumerate() {
        if !logits.iter().fold(false, |any, &x| any | (x > highest)) {
            continue;
        }
        for (i, &logit) in logits.iter().enumerate() {
            if logit > highest {
                (best, highest) = (block * BLOCK + i, logit);
            }
        }
    }
    best as u32
}

/// Descending logit, then ascending id: a total order, so every way to sort gives the same.
pub(super) fn by_logit(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

fn by_key(a: &Candidate, b: &Candidate) -> Ordering {
    a.key.total_cmp(&b.key).then(a.id.cmp(&b.id))
}
