//! Keeps values shallow: the engine drops, prints and compares them by recursion, without a bound on depth.
//!
//! A template can nest values without end only by storing them. So [`tags`](super::tags) passes everything that
//! `set` stores through [`bounded`]; what is printed passes through it as well.

use alloc::vec::Vec;

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, escape_formatter};

use super::value::one_less;

/// The function that `set name = …` calls; not a name that templates use.
pub(super) const FOR_NAMES: &str = "__inkstone_bounded";
/// The function that `set namespace.name = …` calls.
pub(super) const FOR_ATTRIBUTES: &str = "__inkstone_attribute";

/// Bounds the depth of what is stored and printed.
pub(super) fn install(environment: &mut Environment<'_>, depth: usize) {
    environment.add_function(FOR_NAMES, move |state: &mut State, value: Value| {
        outermost(state, value, depth)
    });
    environment.add_function(FOR_ATTRIBUTES, move |state: &mut State, value: Value| {
        bounded(state, value, depth)
    });
    environment.set_formatter(move |out: &mut Output, state: &mut State, value: &Value| {
        if value.as_object().is_none() {
            return escape_formatter(out, state, value);
        }
        escape_formatter(out, state, &outermost(state, value.clone(), depth)?)
    });
    environment.add_filter("string", move |state: &mut State, value: Value| {
        let value = outermost(state, value, depth)?;
        minijinja::filters::string(state, &value)
    });
}

/// [`bounded`], except that `value` itself may be a namespace.
fn outermost(state: &State, value: Value, depth: usize) -> Result<Value, Error> {
    if !is_namespace(&value) {
        return bounded(state, value, depth);
    }
    for key in items(state, &value, depth)? {
        bounded(state, value.get_item(&key)?, depth)?;
    }
    Ok(value)
}

fn is_namespace(value: &Value) -> bool {
    is_a(value, "Namespace")
}

/// Whether the engine's type of `value` has this name; it has no public one.
fn is_a(value: &Value, name: &str) -> bool {
    value
        .as_object()
        .is_some_and(|object| object.type_name().ends_with(name))
}

fn refusal() -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        "functions cannot be stored or printed",
    )
}

/// `value` with its lazy parts evaluated, if it is no deeper than `depth`.
pub(super) fn bounded(state: &State, value: Value, depth: usize) -> Result<Value, Error> {
    if value.as_object().is_none() {
        return Ok(value);
    }
    state.consume_fuel(1)?;
    let inner = one_less(depth).map_err(super::Error::into_engine)?;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable if value.is_tuple() => {
            items(state, &value, inner).map(|items| Value::from(Tuple::from(items)))
        }
        ValueKind::Seq | ValueKind::Iterable => items(state, &value, inner).map(Value::from),
        ValueKind::Map if is_namespace(&value) => Err(Error::new(
            ErrorKind::InvalidOperation,
            "namespaces cannot be held by other values",
        )),
        ValueKind::Map if is_a(&value, "Macro") => Err(refusal()),
        ValueKind::Map => {
            let keys = items(state, &value, inner)?;
            let pairs = keys.into_iter().map(|key| {
                let item = bounded(state, value.get_item(&key)?, inner)?;
                Ok((key, item))
            });
            Ok(Value::from_pairs(pairs.collect::<Result<Vec<_>, Error>>()?))
        }
        _ => Err(Error::new(
            ErrorKind::InvalidOperation,
            "macros cannot be stored or printed",
        )),
    }
}

fn items(state: &State, value: &Value, depth: usize) -> Result<Vec<Value>, Error> {
    let mut items = Vec::new();
    for item in value.try_iter()?.checked() {
        state.consume_fuel(1)?;
        items.push(bounded(state, item?, depth)?);
    }
    Ok(items)
}
