//! The models that are compared: a table.

use crate::random::Shape;

/// A model.
pub(crate) struct Case {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

/// Where a model comes from.
pub(crate) enum Origin {
    /// A file in `INKSTONE_MODELS`.
    Model(&'static str),
    /// Random weights: its speed is that of a model, its answers are none.
    Random(Shape),
}

/// Every case.
pub(crate) static CASES: &[Case] = &[
    Case {
        name: "smollm2",
        origin: Origin::Model("smollm2-135m.gguf"),
    },
    Case {
        name: "gemma3",
        origin: Origin::Model("gemma3-270m.gguf"),
    },
    Case {
        name: "1b",
        origin: Origin::Random(Shape {
            layers: 16,
            width: 2048,
            hidden: 8192,
            ..HEADS_32_8
        }),
    },
    Case {
        name: "8b",
        origin: Origin::Random(Shape {
            layers: 8,
            width: 4096,
            hidden: 14_336,
            ..HEADS_32_8
        }),
    },
];

const HEADS_32_8: Shape = Shape {
    layers: 0,
    width: 0,
    hidden: 0,
    heads: 32,
    kv_heads: 8,
    vocabulary: 32_000,
};
