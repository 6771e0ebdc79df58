//! Python's methods of `str`, `dict` and `list`, where `minijinja-contrib` lacks them or differs.

use minijinja::value::{ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// Calls `method` of `value`, which the engine does not know itself.
pub(super) fn call_method(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match (value.kind(), method) {
        (ValueKind::String, "removeprefix") => {
            let (text, (prefix,)) = (text_of(value), from_args::<(&str,)>(args)?);
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        (ValueKind::String, "removesuffix") => {
            let (text, (suffix,)) = (text_of(value), from_args::<(&str,)>(args)?);
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        // The engine would create what a width asks for before it counts it.
        (ValueKind::String, "format") if asks_for_width(text_of(value)) => Err(Error::new(
            ErrorKind::InvalidOperation,
            "str.format takes widths of up to three digits",
        )),
        _ => pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Whether a number of more than three digits stands in `format`.
fn asks_for_width(format: &str) -> bool {
    format
        .split(|c: char| !c.is_ascii_digit())
        .any(|digits| digits.len() > 3)
}
