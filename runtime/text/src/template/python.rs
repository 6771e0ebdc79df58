//! Python's methods of `str`, `dict` and `list`, where `minijinja-contrib` lacks them or differs.

use minijinja::value::{ValueKind, from_args};
use minijinja::{Error, State, Value};
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
        _ => pycompat::unknown_method_callback(state, value, method, args),
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
