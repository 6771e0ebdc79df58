//! The parameters of all samplers, checked against the ranges of the table.

use core::fmt;

use super::table::{GREEDY, Parameter, TABLE};

/// The parameters of all samplers; the default is greedy choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Params {
    /// Keys the randomness, with the position.
    pub seed: u64,
    /// Divides the logits; 0 is greedy choice.
    pub temperature: f32,
    /// How many of the best stay; 0 is off.
    pub top_k: u32,
    /// Probability that the best must reach together; 1 is off.
    pub top_p: f32,
    /// Probability, as a part of the best one's, below which tokens are out; 0 is off.
    pub min_p: f32,
    /// Probability that the most typical must reach together; 1 is off.
    pub typical_p: f32,
    /// Divides (above zero) or multiplies the logit of a token that stands in the history; 1 is off.
    pub repetition_penalty: f32,
    /// Taken off the logit for each time the token stands in the history.
    pub frequency_penalty: f32,
    /// Taken off the logit of a token that stands in the history.
    pub presence_penalty: f32,
    /// How many of the newest tokens these three penalties see.
    pub penalty_last_n: u32,
    /// Strength of DRY; 0 is off.
    pub dry_multiplier: f32,
    /// Growth of DRY's penalty with each further token.
    pub dry_base: f32,
    /// Length from which repetitions are penalised by DRY.
    pub dry_allowed_length: u32,
    /// How many of the newest tokens DRY sees; 0 is all that are remembered.
    pub dry_last_n: u32,
    /// Tokens that end a repetition for DRY.
    pub dry_breakers: Vec<u32>,
    /// How often XTC acts; 0 is off.
    pub xtc_probability: f32,
    /// Probability from which a token is a top choice for XTC; above 0.5 nothing is.
    pub xtc_threshold: f32,
    /// Target surprise of mirostat v2 in bits; 0 is off.
    pub mirostat_tau: f32,
    /// How fast mirostat's bound moves.
    pub mirostat_eta: f32,
    /// Tokens and what is added to their logits, −100 to 100.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for Params {
    fn default() -> Self {
        let mut params = Self {
            seed: 0,
            temperature: 0.0,
            top_k: 0,
            top_p: 0.0,
            min_p: 0.0,
            typical_p: 0.0,
            repetition_penalty: 0.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_last_n: 0,
            dry_multiplier: 0.0,
            dry_base: 0.0,
            dry_allowed_length: 0,
            dry_last_n: 0,
            dry_breakers: Vec::new(),
            xtc_probability: 0.0,
            xtc_threshold: 0.0,
            mirostat_tau: 0.0,
            mirostat_eta: 0.0,
            logit_bias: Vec::new(),
        };
        parameters().for_each(|parameter| (parameter.set)(&mut params, parameter.default));
        params
    }
}

/// Why parameters were refused.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum ParamError {
    /// No parameter has the name asked for.
    Unknown,
    /// A number outside the parameter's range, both ends of which belong to it.
    OutOfRange {
        /// Name of the parameter.
        parameter: &'static str,
        /// What it was.
        value: f64,
        /// Least value allowed.
        min: f64,
        /// Greatest value allowed.
        max: f64,
    },
    /// A fraction where a whole number is wanted.
    NotWhole {
        /// Name of the parameter.
        parameter: &'static str,
        /// What it was.
        value: f64,
    },
    /// A token that is not in the vocabulary.
    Token {
        /// Name of the parameter.
        parameter: &'static str,
        /// The token.
        id: u32,
        /// Tokens of the vocabulary.
        vocabulary: usize,
    },
    /// A text or list of a length outside its limits.
    Length {
        /// Name of the parameter.
        parameter: &'static str,
        /// Length: bytes of a text, items of a list.
        length: usize,
        /// Least length allowed.
        min: usize,
        /// Greatest length allowed.
        max: usize,
    },
}

impl Params {
    /// Most tokens with a bias, as in the OpenAI API.
    pub const MAX_BIASES: usize = 300;
    /// Most breakers of DRY.
    pub const MAX_BREAKERS: usize = 256;

    /// Sets the parameter of the table called `name`.
    ///
    /// # Errors
    ///
    /// There is none of that name, or `value` lies outside its range.
    pub fn set(&mut self, name: &str, value: f64) -> Result<(), ParamError> {
        let parameter = find(name)?;
        parameter.check(value)?;
        (parameter.set)(self, value);
        Ok(())
    }

    /// The parameter of the table called `name`.
    ///
    /// # Errors
    ///
    /// There is none of that name.
    pub fn get(&self, name: &str) -> Result<f64, ParamError> {
        find(name).map(|parameter| (parameter.get)(self))
    }

    /// The parameters that were set and do nothing, since temperature 0 is greedy choice.
    pub fn idle(&self) -> impl Iterator<Item = &'static Parameter> + '_ {
        let (greedy, neutral) = ((GREEDY.active)(self), Params::default());
        let after = TABLE.iter().skip_while(|row| row.name != GREEDY.name);
        let after = after.flat_map(|row| row.parameters);
        after.filter(move |parameter| greedy && (parameter.get)(self) != (parameter.get)(&neutral))
    }

    /// Checks every parameter for a model of `vocabulary` tokens.
    ///
    /// # Errors
    ///
    /// The first parameter, in the order of the table, that lies outside its range.
    pub fn check(&self, vocabulary: usize) -> Result<(), ParamError> {
        parameters().try_for_each(|parameter| parameter.check((parameter.get)(self)))?;
        in_length("logit_bias", self.logit_bias.len(), 0, Self::MAX_BIASES)?;
        in_length(
            "dry_breakers",
            self.dry_breakers.len(),
            0,
            Self::MAX_BREAKERS,
        )?;
        for &(token, bias) in &self.logit_bias {
            in_vocabulary("logit_bias", token, vocabulary)?;
            in_range("logit_bias", f64::from(bias), -100.0, 100.0)?;
        }
        self.dry_breakers
            .iter()
            .try_for_each(|&token| in_vocabulary("dry_breakers", token, vocabulary))
    }
}

impl Parameter {
    /// Checks `value` against the range.
    ///
    /// # Errors
    ///
    /// It lies outside, or should be whole and is not.
    pub fn check(&self, value: f64) -> Result<(), ParamError> {
        in_range(self.name, value, self.min, self.max)?;
        if self.whole && value % 1.0 != 0.0 {
            return Err(ParamError::NotWhole {
                parameter: self.name,
                value,
            });
        }
        Ok(())
    }
}

fn parameters() -> impl Iterator<Item = &'static Parameter> {
    TABLE.iter().flat_map(|row| row.parameters)
}

fn find(name: &str) -> Result<&'static Parameter, ParamError> {
    parameters()
        .find(|parameter| parameter.name == name)
        .ok_or(ParamError::Unknown)
}

fn in_range(parameter: &'static str, value: f64, min: f64, max: f64) -> Result<(), ParamError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ParamError::OutOfRange {
        parameter,
        value,
        min,
        max,
    })
}

pub(crate) fn in_vocabulary(
    parameter: &'static str,
    id: u32,
    vocabulary: usize,
) -> Result<(), ParamError> {
    if (id as usize) < vocabulary {
        return Ok(());
    }
    Err(ParamError::Token {
        parameter,
        id,
        vocabulary,
    })
}

pub(super) fn in_length(
    parameter: &'static str,
    length: usize,
    min: usize,
    max: usize,
) -> Result<(), ParamError> {
    if (min..=max).contains(&length) {
        return Ok(());
    }
    Err(ParamError::Length {
        parameter,
        length,
        min,
        max,
    })
}

impl fmt::Display for ParamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => write!(f, "there is no sampling parameter of that name"),
            Self::OutOfRange {
                parameter,
                value,
                min,
                max,
            } => {
                write!(f, "{parameter} is {value}, it must be from {min} to {max}")
            }
            Self::NotWhole { parameter, value } => {
                write!(f, "{parameter} is {value}, it must be a whole number")
            }
            Self::Token {
                parameter,
                id,
                vocabulary,
            } => {
                write!(
                    f,
                    "{parameter} names token {id}, the vocabulary has {vocabulary}; `inkstone tokenize` tells a text's tokens"
                )
            }
            Self::Length {
                parameter,
                length,
                min,
                max,
            } => {
                write!(
                    f,
                    "{parameter} has length {length}, it must be from {min} to {max}"
                )
            }
        }
    }
}

impl core::error::Error for ParamError {}
