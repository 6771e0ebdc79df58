//! A progress bar on a terminal, a line now and then off it.

use core::cell::Cell;
use std::io::{self, IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// The state of one piece of long work, shown on stderr.
pub(crate) struct Progress {
    bar: ProgressBar,
    plain: Option<Plain>,
}

/// What is said off a terminal: the label, and every further tenth.
struct Plain {
    label: String,
    total: Option<u64>,
    tenths: Cell<u64>,
}

impl Progress {
    /// A bar of steps rather than bytes.
    pub(super) fn of_steps(label: &str, total: u64, bars: &MultiProgress, quiet: bool) -> Self {
        let progress = Self::new(label, Some(total), bars, quiet);
        let template = "{msg} {wide_bar} {pos}/{len} {eta}";
        let style = ProgressStyle::with_template(template);
        progress
            .bar
            .set_style(style.expect("the template names fields of indicatif"));
        progress
    }

    /// A bar of bytes, or of no known length, among `bars`.
    pub(super) fn new(label: &str, total: Option<u64>, bars: &MultiProgress, quiet: bool) -> Self {
        let bar = bars.add(match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        });
        bar.set_style(style(total.is_some()));
        bar.set_message(label.to_owned());
        let plain = (!quiet && !io::stderr().is_terminal()).then(|| Plain {
            label: label.to_owned(),
            total,
            tenths: Cell::new(0),
        });
        if let Some(plain) = &plain {
            say(&plain.label);
        }
        Self { bar, plain }
    }

    /// Sets how much is done.
    pub(crate) fn at(&self, done: u64) {
        self.bar.set_position(done);
        let Some(plain) = &self.plain else { return };
        let Some(total) = plain.total.filter(|t| *t > 0) else {
            return;
        };
        let tenths = done.saturating_mul(10) / total;
        if tenths > plain.tenths.get() && tenths < 10 {
            plain.tenths.set(tenths);
            say(&format!("{}: {} %", plain.label, tenths * 10));
        }
    }

    /// Says something beside the bar.
    pub(crate) fn say(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    /// Keeps a bar of unknown length moving while nothing can be counted.
    pub(crate) fn spin(&self) {
        self.bar
            .enable_steady_tick(core::time::Duration::from_millis(120));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(counted: bool) -> ProgressStyle {
    let template = if counted {
        "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}"
    } else {
        "{spinner} {msg} {elapsed}"
    };
    ProgressStyle::with_template(template).expect("both templates name fields of indicatif")
}

fn say(line: &str) {
    let _ = writeln!(anstream::stderr(), "{line}");
}
