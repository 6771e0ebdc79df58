//! What `versus` can be asked.

use crate::cases::{CASES, Case};
use anyhow::{Context as _, Result};
use clap::Parser;
use std::env;
use std::path::PathBuf;

/// Inkstone against llama.cpp: the same models, prompts and threads, in alternation
///
/// llama.cpp is compiled for this processor first, which takes minutes once. Models are read from INKSTONE_MODELS,
/// texts from INKSTONE_MATERIALS; the others are made in the cache. Rates are medians of rounds, ratios medians of the
/// ratios of neighbours; their spread is from the first to the third quartile.
#[derive(Parser)]
#[command(
    name = "versus",
    after_help = "Example:\n  cargo run --release -p inkstone-benches --bin versus -- --cases smollm2,1b --prefill 16,512 --decode 128 --depth 0,4096 --threads 1,2"
)]
pub(crate) struct Arguments {
    /// Models
    #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', default_value = "smollm2,gemma3,1b,8b", value_parser = case)]
    pub(crate) cases: Vec<&'static Case>,
    /// Lengths of prompts
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "512", value_parser = positive())]
    pub(crate) prefill: Vec<u32>,
    /// Tokens that are decoded
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = positive())]
    pub(crate) decode: u32,
    /// Positions that stand in the context when decoding begins
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "0")]
    pub(crate) depth: Vec<u32>,
    /// Threads of both engines
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "2", value_parser = positive())]
    pub(crate) threads: Vec<u32>,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = positive())]
    pub(crate) rounds: u32,
    /// Formats of the other side's file; the fastest counts
    #[arg(
        long,
        value_name = "NAME,NAME",
        value_delimiter = ',',
        default_value = "Q4_0,Q4_K,Q8_0"
    )]
    pub(crate) peer_formats: Vec<String>,
    /// Print JSON on stdout, the table on stderr
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw the ratios into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Chunks of 512 tokens of WikiText-2 whose perplexity is taken; 0 for none
    #[arg(long, value_name = "N", default_value_t = 40)]
    pub(crate) chunks: u32,
    /// Take perplexity and loss of a needle in a haystack with every stored form of keys and values, too
    #[arg(long)]
    pub(crate) kv_quality: bool,
    /// Where models are made and kept [default: `versus` in cargo's target folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cache: Option<PathBuf>,
    /// Convert our files again
    #[arg(long)]
    pub(crate) fresh: bool,
}

impl Arguments {
    /// Cargo's target folder.
    pub(crate) fn target(&self) -> Result<PathBuf> {
        let program = env::current_exe()?;
        let target = program.ancestors().nth(2);
        Ok(target.context("the program is in no folder")?.to_owned())
    }

    /// The folder where models are kept.
    pub(crate) fn cache(&self) -> Result<PathBuf> {
        match &self.cache {
            Some(folder) => Ok(folder.clone()),
            None => Ok(self.target()?.join("versus")),
        }
    }

    /// The largest number of threads.
    pub(crate) fn most_threads(&self) -> u32 {
        self.threads.iter().copied().max().unwrap_or(1)
    }

    /// Positions that sessions need.
    pub(crate) fn context(&self) -> u32 {
        let prefill = self.prefill.iter().copied().max().unwrap_or_default();
        let depth = self.depth.iter().copied().max().unwrap_or_default();
        prefill.max(depth + self.decode) + 1
    }
}

fn case(name: &str) -> Result<&'static Case, String> {
    CASES.iter().find(|case| case.name == name).ok_or_else(|| {
        let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        format!("there is no such case; choose of {}", names.join(", "))
    })
}

fn positive() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}
