//! Whether an answer is the one that was wanted.

use serde::Deserialize;
use serde_json::{Number, Value};

/// How answers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The same text, white space around it aside.
    Exact,
    /// The same calls in any order: a JSON array of objects with `name` and `arguments`, numbers by value.
    ToolCalls,
}

impl Kind {
    /// Whether `answer` is right.
    #[must_use]
    pub fn is_right(self, answer: &str, wanted: &str) -> bool {
        match self {
            Kind::Exact => answer.trim() == wanted.trim(),
            Kind::ToolCalls => calls(answer).is_some_and(|found| {
                calls(wanted).is_some_and(|wanted| same_in_any_order(&found, &wanted))
            }),
        }
    }
}

/// The calls of an answer, if it is a list of such.
fn calls(text: &str) -> Option<Vec<Value>> {
    let calls: Vec<Value> = serde_json::from_str(text).ok()?;
    let is_call = |call: &Value| call["name"].is_string() && call["arguments"].is_object();
    calls.iter().all(is_call).then_some(calls)
}

fn same_in_any_order(found: &[Value], wanted: &[Value]) -> bool {
    let mut left: Vec<&Value> = wanted.iter().collect();
    found.len() == wanted.len()
        && found.iter().all(|call| {
            let place = left.iter().position(|other| same(call, other));
            place.map(|place| left.swap_remove(place)).is_some()
        })
}

/// Equal, where numbers count by value: 20 and 20.0 are the same.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => number(a) == number(b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        _ => a == b,
    }
}

fn number(x: &Number) -> Option<f64> {
    x.as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_answers_may_stand_in_white_space() {
        assert!(Kind::Exact.is_right(" tea\n", "tea"));
        assert!(!Kind::Exact.is_right("Tea", "tea"));
    }

    #[test]
    fn calls_are_the_same_in_any_order_and_by_value() {
        let wanted =
            r#"[{"name": "a", "arguments": {"x": 20, "y": "z"}}, {"name": "b", "arguments": {}}]"#;
        let right = r#"[{"name":"b","arguments":{}},{"arguments":{"y":"z","x":20.0},"name":"a"}]"#;
        assert!(Kind::ToolCalls.is_right(right, wanted));
        for wrong in [
            "[]",
            "no",
            r#"[{"name": "a", "arguments": {"x": 20, "y": "z"}}]"#,
            r#"[{"name": "b", "arguments": {}}, {"name": "b", "arguments": {}}]"#,
            r#"[{"name": "a", "arguments": {"x": 21, "y": "z"}}, {"name": "b", "arguments": {}}]"#,
            r#"[{"name": "a", "arguments": {"x": 20, "y": "z", "w": 1}}, {"name": "b", "arguments": {}}]"#,
        ] {
            assert!(!Kind::ToolCalls.is_right(wrong, wanted), "{wrong}");
        }
        assert!(Kind::ToolCalls.is_right("[]", "[]"));
        assert!(!Kind::ToolCalls.is_right("", "[]"));
    }
}
