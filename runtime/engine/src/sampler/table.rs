//! The samplers as data, in the order in which they act.

use super::{Params, Stage, mirostat, penalties, truncation};

/// One sampler.
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub doc: &'static str,
    /// What it reads; lists (`logit_bias`, `dry_breakers`) are not among them.
    pub parameters: &'static [Parameter],
    /// Whether it does anything under these parameters.
    pub(super) active: fn(&Params) -> bool,
    pub(super) apply: fn(&mut Stage<'_>),
}

/// One number that a sampler reads.
pub struct Parameter {
    /// Its name, as in [`Params`].
    pub name: &'static str,
    /// What it means, in one sentence.
    pub doc: &'static str,
    /// Its value in [`Params::default`].
    pub default: f64,
    /// Least value allowed.
    pub min: f64,
    /// Greatest value allowed.
    pub max: f64,
    /// Whether it is a whole number.
    pub whole: bool,
    pub(super) get: fn(&Params) -> f64,
    pub(super) set: fn(&mut Params, f64),
}

/// Every sampler, in the order in which they act.
///
/// At temperature 0 the choice is greedy: bias and penalties act, nothing that truncates does. Mirostat stands in
/// for what truncates, as its paper has it.
pub static TABLE: &[Row] = &[
    LOGIT_BIAS,
    PENALTIES,
    DRY,
    GREEDY,
    TOP_K,
    TYPICAL,
    TOP_P,
    MIN_P,
    XTC,
    TEMPERATURE,
    MIROSTAT,
];

const LAST_N: f64 = 1_048_576.0;

const LOGIT_BIAS: Row = Row {
    name: "logit_bias",
    doc: "adds a number to the logits of named tokens",
    parameters: &[],
    active: |params| !params.logit_bias.is_empty(),
    apply: penalties::bias,
};

const PENALTIES: Row = Row {
    name: "penalties",
    doc: "makes tokens of the recent text less likely",
    parameters: &[
        Parameter {
            name: "repetition_penalty",
            doc: "divides positive and multiplies negative logits of recent tokens; 1 is off",
            default: 1.0,
            min: 0.125,
            max: 8.0,
            whole: false,
            get: |params| params.repetition_penalty.into(),
            set: |params, value| params.repetition_penalty = value as f32,
        },
        Parameter {
            name: "frequency_penalty",
            doc: "is taken off for each time a token stands in the recent text; 0 is off",
            default: 0.0,
            min: -2.0,
            max: 2.0,
            whole: false,
            get: |params| params.frequency_penalty.into(),
            set: |params, value| params.frequency_penalty = value as f32,
        },
        Parameter {
            name: "presence_penalty",
            doc: "is taken off once if a token stands in the recent text; 0 is off",
            default: 0.0,
            min: -2.0,
            max: 2.0,
            whole: false,
            get: |params| params.presence_penalty.into(),
            set: |params, value| params.presence_penalty = value as f32,
        },
        Parameter {
            name: "penalty_last_n",
            doc: "how many tokens the recent text has",
            default: 64.0,
            min: 0.0,
            max: LAST_N,
            whole: true,
            get: |params| params.penalty_last_n.into(),
            set: |params, value| params.penalty_last_n = value as u32,
        },
    ],
    active: |params| {
        let neutral = params.repetition_penalty == 1.0
            && params.frequency_penalty == 0.0
            && params.presence_penalty == 0.0;
        !neutral && params.penalty_last_n > 0
    },
    apply: penalties::penalties,
};

const DRY: Row = Row {
    name: "dry",
    doc: "makes tokens that lengthen a repetition less likely, the more the longer it is",
    parameters: &[
        Parameter {
            name: "dry_multiplier",
            doc: "what a repetition of the allowed length loses to DRY; 0 is off",
            default: 0.0,
            min: 0.0,
            max: 100.0,
            whole: false,
            get: |params| params.dry_multiplier.into(),
            set: |params, value| params.dry_multiplier = value as f32,
        },
        Parameter {
            name: "dry_base",
            doc: "growth of that loss with each further token",
            default: 1.75,
            min: 1.0,
            max: 10.0,
            whole: false,
            get: |params| params.dry_base.into(),
            set: |params, value| params.dry_base = value as f32,
        },
        Parameter {
            name: "dry_allowed_length",
            doc: "length from which DRY counts repetitions",
            default: 2.0,
            min: 1.0,
            max: LAST_N,
            whole: true,
            get: |params| params.dry_allowed_length.into(),
            set: |params, value| params.dry_allowed_length = value as u32,
        },
        Parameter {
            name: "dry_last_n",
            doc: "how many tokens DRY searches for repetitions; 0 is all",
            default: 0.0,
            min: 0.0,
            max: LAST_N,
            whole: true,
            get: |params| params.dry_last_n.into(),
            set: |params, value| params.dry_last_n = value as u32,
        },
    ],
    active: |params| params.dry_multiplier > 0.0,
    apply: penalties::dry,
};

pub(super) const GREEDY: Row = Row {
    name: "greedy",
    doc: "takes the likeliest token, the lowest id of equals; acts at temperature 0",
    parameters: &[],
    active: |params| params.temperature == 0.0,
    apply: truncation::greedy,
};

const TOP_K: Row = Row {
    name: "top_k",
    doc: "keeps the k likeliest tokens",
    parameters: &[Parameter {
        name: "top_k",
        doc: "how many of the likeliest tokens stay; 0 is off",
        default: 0.0,
        min: 0.0,
        max: LAST_N,
        whole: true,
        get: |params| params.top_k.into(),
        set: |params, value| params.top_k = value as u32,
    }],
    active: |params| truncates(params) && params.top_k > 0,
    apply: truncation::top_k,
};

const TYPICAL: Row = Row {
    name: "typical",
    doc: "keeps the tokens whose surprise is nearest to the entropy",
    parameters: &[Parameter {
        name: "typical_p",
        doc: "probability that the most typical tokens reach together; 1 is off",
        default: 1.0,
        min: 0.0,
        max: 1.0,
        whole: false,
        get: |params| params.typical_p.into(),
        set: |params, value| params.typical_p = value as f32,
    }],
    active: |params| truncates(params) && params.typical_p < 1.0,
    apply: truncation::typical,
};

const TOP_P: Row = Row {
    name: "top_p",
    doc: "keeps the likeliest tokens that reach a probability together",
    parameters: &[Parameter {
        name: "top_p",
        doc: "probability that the likeliest tokens reach together; 1 is off",
        default: 1.0,
        min: 0.0,
        max: 1.0,
        whole: false,
        get: |params| params.top_p.into(),
        set: |params, value| params.top_p = value as f32,
    }],
    active: |params| truncates(params) && params.top_p < 1.0,
    apply: truncation::top_p,
};

const MIN_P: Row = Row {
    name: "min_p",
    doc: "keeps the tokens that are not much less likely than the likeliest",
    parameters: &[Parameter {
        name: "min_p",
        doc: "least probability of a token, as a part of the likeliest one's; 0 is off",
        default: 0.0,
        min: 0.0,
        max: 1.0,
        whole: false,
        get: |params| params.min_p.into(),
        set: |params, value| params.min_p = value as f32,
    }],
    active: |params| truncates(params) && params.min_p > 0.0,
    apply: truncation::min_p,
};

const XTC: Row = Row {
    name: "xtc",
    doc: "of several likely tokens keeps the least likely, now and then",
    parameters: &[
        Parameter {
            name: "xtc_probability",
            doc: "how often XTC drops all but the last of several likely tokens; 0 is off",
            default: 0.0,
            min: 0.0,
            max: 1.0,
            whole: false,
            get: |params| params.xtc_probability.into(),
            set: |params, value| params.xtc_probability = value as f32,
        },
        Parameter {
            name: "xtc_threshold",
            doc: "probability from which a token is likely to XTC; above 0.5 none is",
            default: 0.1,
            min: 0.0,
            max: 1.0,
            whole: false,
            get: |params| params.xtc_threshold.into(),
            set: |params, value| params.xtc_threshold = value as f32,
        },
    ],
    active: |params| {
        truncates(params) && params.xtc_probability > 0.0 && params.xtc_threshold <= 0.5
    },
    apply: truncation::xtc,
};

const TEMPERATURE: Row = Row {
    name: "temperature",
    doc: "divides all logits: below 1 sharper, above 1 flatter",
    parameters: &[Parameter {
        name: "temperature",
        doc: "divides all logits: below 1 sharper, above 1 flatter; 0 is greedy choice",
        default: 0.0,
        min: 0.0,
        max: 100.0,
        whole: false,
        get: |params| params.temperature.into(),
        set: |params, value| params.temperature = value as f32,
    }],
    active: |params| params.temperature > 0.0 && params.temperature != 1.0,
    apply: truncation::temperature,
};

const MIROSTAT: Row = Row {
    name: "mirostat",
    doc: "version 2: keeps the surprise of the text near a target",
    parameters: &[
        Parameter {
            name: "mirostat_tau",
            doc: "surprise in bits that mirostat 2 keeps the text near; 0 is off, 5 is usual",
            default: 0.0,
            min: 0.0,
            max: 100.0,
            whole: false,
            get: |params| params.mirostat_tau.into(),
            set: |params, value| params.mirostat_tau = value as f32,
        },
        Parameter {
            name: "mirostat_eta",
            doc: "how fast mirostat's bound on surprise follows",
            default: 0.1,
            min: 0.0,
            max: 1.0,
            whole: false,
            get: |params| params.mirostat_eta.into(),
            set: |params, value| params.mirostat_eta = value as f32,
        },
    ],
    active: |params| params.temperature > 0.0 && params.mirostat_tau > 0.0,
    apply: mirostat::mirostat,
};

/// Whether the choice is neither greedy nor mirostat's.
fn truncates(params: &Params) -> bool {
    params.temperature > 0.0 && params.mirostat_tau == 0.0
}
