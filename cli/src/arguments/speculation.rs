//! Options of guessing tokens ahead.

use clap::Args;
use inkstone_engine::SessionConfig;

use crate::exit::Usage;
use crate::resolve;
use crate::terminal::Terminal;

/// Whether and how tokens are guessed; the answer is the same in any case.
#[derive(Args, Clone)]
#[command(next_help_heading = "Speculation options")]
pub(crate) struct Speculation {
    /// Guess tokens ahead: `auto` where it pays, `off`, or N at a time wherever there is something to guess
    #[arg(long, value_name = "auto|off|N", default_value = "auto", value_parser = speculation)]
    speculate: inkstone_engine::Speculation,
    /// A smaller model of the same vocabulary that guesses, named as MODEL is
    #[arg(long, value_name = "MODEL")]
    draft: Option<String>,
}

impl Speculation {
    /// The configuration with these options; opens the draft.
    pub(crate) fn add_to(
        &self,
        config: SessionConfig,
        terminal: &Terminal,
    ) -> anyhow::Result<SessionConfig> {
        let off = self.speculate == inkstone_engine::Speculation::Off;
        if off && self.draft.is_some() {
            return Err(Usage::error(
                "a --draft has nothing to do with --speculate off",
            ));
        }
        let draft = self.draft.as_deref();
        Ok(SessionConfig {
            speculation: self.speculate,
            draft: draft
                .map(|name| resolve::model(terminal, name))
                .transpose()?,
            ..config
        })
    }
}

fn speculation(text: &str) -> Result<inkstone_engine::Speculation, String> {
    match text {
        "auto" => Ok(inkstone_engine::Speculation::Auto),
        "off" => Ok(inkstone_engine::Speculation::Off),
        n => n
            .parse()
            .map(inkstone_engine::Speculation::Depth)
            .map_err(|_| format!("`{n}` is neither auto nor off nor a number")),
    }
}
