//! A run: steps over packs in an order that follows from the seed, looks at what is held out, checkpoints.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::checkpoint::{self, Progress};
use crate::net::{Losses, Net};
use crate::optimizer::{Settings, State};
use crate::pack::{Pack, Sample, first_fit};
use crate::random::Random;
use crate::recipe::Recipe;
use crate::weight::Tensor;

/// A run in progress.
pub struct Trainer<'a> {
    recipe: Recipe,
    /// Names all that the run is made of: recipe, model and samples.
    made_of: String,
    net: Net<'a>,
    state: State,
    settings: Settings,
    samples: Vec<Sample>,
    held_out: Vec<Pack>,
    progress: Progress,
    best: Vec<Tensor>,
    /// The packs of the epoch that is being run, by sample.
    epoch: (usize, Vec<Vec<usize>>),
    steps_of_epoch: usize,
}

/// What happened in a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Event {
    /// Steps made.
    pub step: usize,
    /// Steps of the run.
    pub steps: usize,
    /// Mean loss of what was learnt in the step.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub norm: f32,
    /// Learning rate.
    pub rate: f32,
    /// Tokens of the step.
    pub tokens: usize,
    /// Those of them that were learnt.
    pub learnt: usize,
    /// Seconds that it took, looks and checkpoints apart.
    pub seconds: f64,
    /// Mean loss of what is held out, where it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out: Option<f64>,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All steps were made.
    Done,
    /// The held-out loss has not become better for as long as the recipe waits.
    NoBetter,
    /// It was asked to stop; it can be resumed.
    Stopped,
}

impl<'a> Trainer<'a> {
    /// A run of `recipe` from its beginning; a share of `samples` is held out where `held_out` is empty.
    ///
    /// # Errors
    /// There is too little to learn from.
    pub fn new(
        recipe: Recipe,
        net: Net<'a>,
        mut samples: Vec<Sample>,
        mut held_out: Vec<Sample>,
    ) -> Result<Trainer<'a>> {
        if held_out.is_empty() {
            let mut random = Random::new(recipe.run.seed, "held out");
            random.shuffle(&mut samples);
            let share = samples.len() as f32 * recipe.data.held_out_share;
            let at = samples.len() - share as usize;
            held_out = samples.split_off(at);
        }
        ensure!(!samples.is_empty(), "nothing to learn from is left");
        let packs = packs(&recipe, &samples, 0);
        let steps_of_epoch = packs.len().div_ceil(recipe.optimizer.batch);
        let steps = match recipe.optimizer.steps {
            0 => (steps_of_epoch as f32 * recipe.optimizer.epochs).ceil() as usize,
            steps => steps,
        };
        let settings = recipe.settings(steps);
        let made_of = made_of(&recipe, &net, [&samples, &held_out])?;
        let held_out = first_fit(&lengths(&held_out), recipe.data.length)
            .iter()
            .map(|pack| packed(&held_out, pack))
            .collect();
        Ok(Trainer {
            made_of,
            state: State::new(&net.trained),
            best: Vec::new(),
            progress: Progress::default(),
            epoch: (0, packs),
            recipe,
            net,
            settings,
            samples,
            held_out,
            steps_of_epoch,
        })
    }

    /// The net as it is.
    #[must_use]
    pub fn net(&self) -> &Net<'a> {
        &self.net
    }

    /// Steps of the run.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.settings.steps
    }

    /// Steps made.
    #[must_use]
    pub fn done(&self) -> usize {
        self.progress.step
    }

    /// Where the run's checkpoint is.
    #[must_use]
    pub fn checkpoint(&self) -> PathBuf {
        self.recipe.run.output.join("checkpoint.safetensors")
    }

    /// Takes up the run where its checkpoint left it.
    ///
    /// # Errors
    /// The checkpoint cannot be read, or is of another recipe, model or samples.
    pub fn resume(&mut self) -> Result<()> {
        let path = self.checkpoint();
        let (progress, best) =
            checkpoint::load(&path, &self.made_of, &mut self.net.trained, &mut self.state)?;
        self.progress = progress;
        self.best = best;
        Ok(())
    }

    /// Runs to the end, or until `watch`, which hears of every step and sees the net after it, says to stop.
    ///
    /// # Errors
    /// The loss is not a number any more, or the file system's answer.
    pub fn run(&mut self, watch: &mut dyn FnMut(&Net<'_>, &Event) -> bool) -> Result<End> {
        let mut gradients = self.net.gradients();
        let patience = self.recipe.run.patience;
        while self.progress.step < self.settings.steps {
            if patience > 0 && self.progress.worse >= patience {
                return Ok(End::NoBetter);
            }
            let mut event = self.step(&mut gradients)?;
            if self.looks(event.step) {
                event.held_out = self.look();
            }
            let over = patience > 0 && self.progress.worse >= patience;
            let go_on = watch(&self.net, &event);
            let last = event.step == self.settings.steps || over || !go_on;
            if last || event.step.is_multiple_of(self.recipe.run.save_every) {
                self.save()?;
            }
            if !go_on && !over {
                return Ok(End::Stopped);
            }
        }
        Ok(End::Done)
    }

    /// Makes a step and takes it back: what it took is what a step takes.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn try_step(&mut self) -> Result<Event> {
        let (trained, state) = (self.net.trained.clone(), self.state.clone());
        let mut gradients = self.net.gradients();
        let event = self.step(&mut gradients);
        (self.net.trained, self.state) = (trained, state);
        self.progress = Progress::default();
        event
    }

    fn step(&mut self, gradients: &mut [Vec<f32>]) -> Result<Event> {
        let start = Instant::now();
        let packs = self.packs_of(self.progress.step);
        let labels: usize = packs.iter().map(|pack| pack.targets.len()).sum();
        gradients.iter_mut().for_each(|g| g.fill(0.0));
        let mut losses = Losses::default();
        for pack in &packs {
            let seen = self.net.step(pack, 1.0 / labels as f32, gradients);
            losses.sum += seen.sum;
            losses.labels += seen.labels;
        }
        let rate = self.settings.rate(self.state.steps);
        let norm = self
            .state
            .step(&self.settings, &mut self.net.trained, gradients);
        self.progress.step += 1;
        let step = self.progress.step;
        ensure!(
            losses.mean().is_finite() && norm.is_finite(),
            "the loss of step {step} is not a number; try a lower optimizer.rate than {}",
            self.recipe.optimizer.rate
        );
        Ok(Event {
            step,
            steps: self.settings.steps,
            loss: losses.mean(),
            norm,
            rate,
            tokens: packs.iter().map(|pack| pack.tokens.len()).sum(),
            learnt: labels,
            seconds: start.elapsed().as_secs_f64(),
            held_out: None,
        })
    }

    /// Whether step `step`, from 1, is followed by a look at what is held out.
    fn looks(&self, step: usize) -> bool {
        let every = match self.recipe.run.evaluate_every {
            0 => self.settings.steps.div_ceil(10),
            every => every,
        };
        !self.held_out.is_empty() && (step.is_multiple_of(every) || step == self.settings.steps)
    }

    /// The loss of what is held out; the best net so far is kept.
    fn look(&mut self) -> Option<f64> {
        let mut losses = Losses::default();
        for pack in &self.held_out {
            let seen = self.net.evaluate(pack);
            losses.sum += seen.sum;
            losses.labels += seen.labels;
        }
        let loss = losses.mean() as f32;
        if self.progress.best.is_none_or(|best| loss < best) {
            self.progress.best = Some(loss);
            self.progress.worse = 0;
            self.best.clone_from(&self.net.trained);
        } else {
            self.progress.worse += 1;
        }
        Some(f64::from(loss))
    }

    /// The packs of step `step`, from 0: they follow from the seed and the step alone.
    fn packs_of(&mut self, step: usize) -> Vec<Pack> {
        let (epoch, within) = (step / self.steps_of_epoch, step % self.steps_of_epoch);
        if self.epoch.0 != epoch {
            self.epoch = (epoch, packs(&self.recipe, &self.samples, epoch));
        }
        let batch = self.recipe.optimizer.batch;
        let all = &self.epoch.1;
        // Packing another order may give a pack more or less than the first epoch had.
        let first = (within * batch).min(all.len() - 1);
        let last = if within + 1 == self.steps_of_epoch {
            all.len()
        } else {
            (first + batch).min(all.len())
        };
        let packs = all[first..last.max(first + 1)].iter();
        packs.map(|pack| packed(&self.samples, pack)).collect()
    }

    fn save(&self) -> Result<()> {
        checkpoint::save(
            &self.checkpoint(),
            &self.made_of,
            &self.progress,
            [&self.net.trained, &self.best],
            &self.state,
        )
    }

    /// The net with the best held-out loss takes the place of the last one; gives that loss.
    pub fn take_best(&mut self) -> Option<f32> {
        if !self.best.is_empty() {
            self.net.trained.clone_from(&self.best);
        }
        self.progress.best
    }

    /// The folder of the run.
    #[must_use]
    pub fn output(&self) -> &Path {
        &self.recipe.run.output
    }

    /// Makes the folder, and writes the recipe with every default to it.
    ///
    /// # Errors
    /// The file system's answer.
    pub fn prepare(&self) -> Result<()> {
        let output = self.output();
        std::fs::create_dir_all(output).with_context(|| output.display().to_string())?;
        let (hash, text) = (self.recipe.hash()?, self.recipe.to_toml()?);
        let text = format!("# blake3 {hash}\n{text}");
        crate::adapter::replace(&output.join("recipe.toml"), text.as_bytes())
    }
}

fn made_of(recipe: &Recipe, net: &Net<'_>, samples: [&[Sample]; 2]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(recipe.hash()?.as_bytes()).update(&net.id());
    for samples in samples {
        hasher.update(&(samples.len() as u64).to_le_bytes());
        for sample in samples {
            hasher.update(&(sample.tokens.len() as u64).to_le_bytes());
            for (token, learnt) in sample.tokens.iter().zip(&sample.learnt) {
                hasher
                    .update(&token.to_le_bytes())
                    .update(&[u8::from(*learnt)]);
            }
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn lengths(samples: &[Sample]) -> Vec<usize> {
    samples.iter().map(|sample| sample.tokens.len()).collect()
}

fn packed(samples: &[Sample], members: &[usize]) -> Pack {
    let mut pack = Pack::default();
    members
        .iter()
        .for_each(|member| pack.push(&samples[*member]));
    pack
}

/// The packs of an epoch, by sample.
fn packs(recipe: &Recipe, samples: &[Sample], epoch: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..samples.len()).collect();
    let mut random = Random::new(recipe.run.seed, &format!("epoch {epoch}"));
    random.shuffle(&mut order);
    if !recipe.data.packing {
        return order.into_iter().map(|index| vec![index]).collect();
    }
    let lengths: Vec<usize> = order
        .iter()
        .map(|index| samples[*index].tokens.len())
        .collect();
    let mut packs = first_fit(&lengths, recipe.data.length);
    packs
        .iter_mut()
        .flatten()
        .for_each(|index| *index = order[*index]);
    // First fit leaves the short ones to the end.
    random.shuffle(&mut packs);
    packs
}
