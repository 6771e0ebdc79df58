//! JSON from outside into the engine's values, with its depth checked.

use alloc::string::ToString;
use alloc::vec::Vec;

use minijinja::Value;
use serde_json::Value as Json;

use super::{Error, ErrorKind};

/// `json` as a value; `depth` levels of arrays and objects at most.
pub(super) fn from_json(json: &Json, depth: usize) -> Result<Value, Error> {
    Ok(match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => from_number(number),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => {
            let inner = one_less(depth)?;
            let items: Result<Vec<Value>, Error> =
                items.iter().map(|item| from_json(item, inner)).collect();
            Value::from(items?)
        }
        Json::Object(members) => {
            let inner = one_less(depth)?;
            let members: Result<Vec<(&str, Value)>, Error> = members
                .iter()
                .map(|(key, value)| Ok((key.as_str(), from_json(value, inner)?)))
                .collect();
            Value::from_pairs(members?)
        }
    })
}

/// The levels left below this one.
pub(super) fn one_less(depth: usize) -> Result<usize, Error> {
    depth
        .checked_sub(1)
        .ok_or_else(|| Error::new(ErrorKind::TooDeep, "arrays and objects".into()))
}

fn from_number(number: &serde_json::Number) -> Value {
    if let Some(number) = number.as_i64() {
        Value::from(number)
    } else if let Some(number) = number.as_u64() {
        Value::from(number)
    } else {
        number
            .as_f64()
            .map_or_else(|| Value::from(number.to_string()), Value::from)
    }
}
