//! `peer`: llama.cpp as an engine that `versus` asks, and as a quantiser.

mod llama;
mod quantize;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use inkstone_benches::serve::serve;
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "llama.cpp as an engine for `versus`")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answer requests, a line of JSON each
    Serve,
    /// Write a GGUF file in another format
    Quantize {
        from: PathBuf,
        to: PathBuf,
        /// A number of llama.cpp's `llama_ftype`
        kind: u32,
    },
}

fn main() -> Result<()> {
    llama::quiet();
    match Arguments::parse().command {
        Command::Serve => serve::<llama::Llama>(),
        Command::Quantize { from, to, kind } => {
            quantize::quantize(&from, &to, kind).with_context(|| from.display().to_string())
        }
    }
}
