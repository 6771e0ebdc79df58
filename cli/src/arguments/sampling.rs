//! Options of choosing tokens: one for each parameter of the engine's table of samplers.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use inkstone_engine::Params;
use inkstone_engine::sampler::{Parameter, TABLE};

use crate::terminal::Terminal;

/// How the next token is chosen, and when an answer ends.
#[derive(Clone)]
pub(crate) struct Sampling {
    /// The parameters that were given.
    given: Params,
    /// Most tokens of an answer.
    pub(crate) limit: Option<u32>,
    /// Texts that end an answer.
    pub(crate) stop: Vec<String>,
    /// Tokens that end an answer, besides the model's own.
    pub(crate) stop_ids: Vec<u32>,
}

impl Sampling {
    /// The parameters; all that was not given is neutral.
    pub(crate) fn params(&self) -> &Params {
        &self.given
    }

    /// Tells which options do nothing, where the choice is greedy.
    pub(crate) fn note_idle(&self, terminal: &Terminal) {
        for parameter in self.given.idle() {
            terminal.note(format_args!(
                "--{} does nothing at temperature 0; add --temp",
                flag(parameter)
            ));
        }
    }
}

const HEADING: &str = "Sampling options";
const LIMIT: &str = "tokens";
const SEED: &str = "seed";
const STOP: &str = "stop";
const STOP_ID: &str = "stop_id";
const BIAS: &str = "logit_bias";

/// `--temp` is what everybody types; the others carry the names of the table.
fn flag(parameter: &Parameter) -> String {
    match parameter.name {
        "temperature" => "temp".to_owned(),
        name => name.replace('_', "-"),
    }
}

fn parameters() -> impl Iterator<Item = &'static Parameter> {
    TABLE.iter().flat_map(|row| row.parameters)
}

impl Args for Sampling {
    fn augment_args(command: Command) -> Command {
        let fixed = [
            Arg::new(LIMIT)
                .short('n')
                .long("tokens")
                .value_parser(clap::value_parser!(u32))
                .help("Most tokens of an answer [default: until it ends or the context is full]"),
            Arg::new(SEED)
                .long("seed")
                .value_parser(clap::value_parser!(u64))
                .help("Keys the randomness: the same seed, the same text [default: 0]"),
            Arg::new(STOP)
                .long("stop")
                .value_name("TEXT")
                .action(ArgAction::Append)
                .help("End the answer before this text"),
            Arg::new(STOP_ID)
                .long("stop-id")
                .value_name("N")
                .value_parser(clap::value_parser!(u32))
                .action(ArgAction::Append)
                .help("End the answer at this token"),
            Arg::new(BIAS)
                .long("logit-bias")
                .value_name("ID=N")
                .value_parser(bias)
                .action(ArgAction::Append)
                .help("Add N to the logit of a token, -100 to 100"),
        ];
        let tabled = parameters().map(|parameter| {
            let help = format!(
                "{} [default: {}]",
                sentence(parameter.doc),
                parameter.default
            );
            Arg::new(parameter.name)
                .long(flag(parameter))
                .value_parser(move |text: &str| number(parameter, text))
                .allow_negative_numbers(true)
                .hide_short_help(parameter.name != "temperature")
                .help(help)
        });
        fixed
            .into_iter()
            .chain(tabled)
            .map(|arg| arg.help_heading(HEADING))
            .map(|arg| match arg.get_action() {
                ArgAction::Set if arg.get_value_names().is_none() => arg.value_name("N"),
                _ => arg,
            })
            .fold(command, Command::arg)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Sampling {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let many = |name| {
            matches
                .get_many::<u32>(name)
                .into_iter()
                .flatten()
                .copied()
                .collect()
        };
        let mut given = Params {
            seed: matches.get_one(SEED).copied().unwrap_or_default(),
            ..Params::default()
        };
        for parameter in parameters() {
            if let Some(&value) = matches.get_one::<f64>(parameter.name) {
                let set = given.set(parameter.name, value);
                set.expect("the option's parser has checked the range");
            }
        }
        given.logit_bias = matches
            .get_many(BIAS)
            .into_iter()
            .flatten()
            .copied()
            .collect();
        Ok(Self {
            given,
            limit: matches.get_one(LIMIT).copied(),
            stop: matches
                .get_many(STOP)
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            stop_ids: many(STOP_ID),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// With a capital letter, as the other options begin.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect()
}

fn number(parameter: &Parameter, text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    parameter.check(value).map_err(|error| error.to_string())?;
    Ok(value)
}

fn bias(text: &str) -> Result<(u32, f32), String> {
    let pair = text
        .split_once('=')
        .and_then(|(id, n)| Some((id.parse().ok()?, n.parse().ok()?)));
    pair.filter(|(_, n): &(u32, f32)| n.is_finite())
        .ok_or_else(|| format!("`{text}` is no bias: write ID=N"))
}
