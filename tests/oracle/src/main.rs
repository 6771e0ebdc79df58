//! `oracle`: asks llama.cpp about a model; prints JSON.

mod commands;

use clap::{Args, Parser, Subcommand};
use inkstone_oracle::llama::{Kv, Settings};
use std::io::Write as _;
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Asks llama.cpp about a model; prints JSON")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The ids of a text.
    #[command(visible_alias = "tokenize")]
    Tokens {
        /// A GGUF file, with weights or without.
        model: PathBuf,
        #[command(flatten)]
        input: Input,
        /// Leave out the model's own first and last tokens.
        #[arg(long)]
        bare: bool,
    },
    /// The logits that follow the last token, or all tokens.
    Logits {
        /// A GGUF file.
        model: PathBuf,
        #[command(flatten)]
        input: Input,
        /// Every position, not the last alone.
        #[arg(long)]
        all: bool,
        /// Where the rows go, as little-endian f32.
        #[arg(short, long)]
        output: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// The most likely continuation, with margins.
    Greedy {
        /// A GGUF file.
        model: PathBuf,
        #[command(flatten)]
        input: Input,
        /// The most tokens to add.
        #[arg(short = 'n', default_value_t = 32)]
        limit: usize,
        #[command(flatten)]
        how: How,
    },
    /// Perplexity, counted as `llama-perplexity` does.
    Perplexity {
        /// A GGUF file.
        model: PathBuf,
        /// The file whose text is scored.
        #[arg(long)]
        text: PathBuf,
        /// The most chunks to score.
        #[arg(long, default_value_t = 40)]
        chunks: usize,
        #[command(flatten)]
        how: How,
    },
    /// Writes a model again with F32 tensors.
    ExportF32 {
        /// A GGUF file.
        input: PathBuf,
        /// The file to write.
        output: PathBuf,
    },
    /// Top-1 agreement and KL divergence of streams of logits.
    Compare(commands::Compare),
    /// What tests of a model are checked against where llama.cpp is not at hand.
    Golden(commands::Golden),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Source {
    /// The text itself.
    #[arg(long)]
    text: Option<String>,
    /// A file with the text.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Token ids, with commas.
    #[arg(long, value_delimiter = ',')]
    tokens: Option<Vec<u32>>,
}

#[derive(Args)]
struct Input {
    #[command(flatten)]
    source: Source,
    /// Parse special tokens in the text.
    #[arg(long)]
    special: bool,
}

/// How llama.cpp computes.
#[derive(Args, Clone, Copy)]
struct How {
    /// The most tokens of a sequence; the size of a chunk.
    #[arg(short, long, default_value_t = 512)]
    context: u32,
    /// The type of stored keys and values.
    #[arg(long, value_enum, default_value = "f16")]
    kv: Kv,
    /// Use the fused attention kernel.
    #[arg(long)]
    flash: bool,
    /// Threads that compute.
    #[arg(short, long, default_value_t = 2)]
    threads: u32,
}

impl How {
    fn settings(self) -> Settings {
        Settings {
            context: self.context,
            kv: self.kv,
            flash: self.flash,
            threads: self.threads,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let answer = match Arguments::parse().command {
        Command::Tokens { model, input, bare } => commands::tokens(&model, &input, bare)?,
        Command::Logits {
            model,
            input,
            all,
            output,
            how,
        } => commands::logits(&model, &input, all, output.as_deref(), how)?,
        Command::Greedy {
            model,
            input,
            limit,
            how,
        } => commands::greedy(&model, &input, limit, how)?,
        Command::Perplexity {
            model,
            text,
            chunks,
            how,
        } => commands::perplexity(&model, &text, chunks, how)?,
        Command::ExportF32 { input, output } => commands::export_f32(&input, &output)?,
        Command::Compare(compare) => compare.run()?,
        Command::Golden(golden) => golden.run()?,
    };
    Ok(writeln!(std::io::stdout(), "{answer}")?)
}
