//! `versus`: Inkstone against llama.cpp on the same models and prompts, in alternation.

mod arguments;
mod build;
mod cases;
mod files;
mod limits;
mod matches;
mod needle;
mod ours;
mod plot;
mod quality;
mod random;
mod report;
mod statistics;
mod worker;

use anyhow::Result;
use arguments::Arguments;
use clap::Parser as _;
use core::fmt::Display;
use inkstone_benches::serve::serve;
use std::process::ExitCode;

/// The argument by which `versus` starts itself as an engine.
const SERVE: &str = "--serve";

fn main() -> ExitCode {
    let result = if std::env::args().nth(1).as_deref() == Some(SERVE) {
        serve::<ours::Ours>()
    } else {
        run(&Arguments::parse())
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says on stderr what is being done.
fn note(text: impl Display) {
    eprintln!("versus: {text}");
}

fn run(arguments: &Arguments) -> Result<()> {
    let peer = build::peer(&arguments.target()?)?;
    let mut report = report::Report::default();
    for case in &arguments.cases {
        let files = files::prepare(case, &peer, arguments)?;
        let entries = matches::play(case, &files, &peer, arguments, &mut report)?;
        quality::measure(case, &entries, arguments, &mut report)?;
    }
    report.print(arguments)
}
