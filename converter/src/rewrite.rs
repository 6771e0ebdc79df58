//! What the recorded rewrites do to the rows of a matrix.

use inkstone_format::records::{Part, Pattern, Rewrite};

use crate::error::{Result, malformed};

/// Which rows of a source make the rows of a tensor, and what is added to each element.
#[derive(Debug, Clone, PartialEq)]
pub struct Rewritten {
    /// For each row of the tensor, the row of the source.
    pub rows: Vec<u32>,
    /// What is added to every element.
    pub add: f32,
}

/// Applies `rewrites`, first to last, to a matrix of `rows` rows.
///
/// # Errors
/// A rewrite does not fit the rows it meets.
pub fn apply(rewrites: &[Rewrite], rows: u64) -> Result<Rewritten> {
    let rows = u32::try_from(rows).map_err(|_| malformed(format!("{rows} rows")))?;
    let mut result = Rewritten {
        rows: (0..rows).collect(),
        add: 0.0,
    };
    for rewrite in rewrites {
        match rewrite {
            Rewrite::AddOne => result.add += 1.0,
            Rewrite::Tied { .. } | Rewrite::Transcode { .. } => {}
            reorder => {
                let order = order(reorder, result.rows.len() as u64);
                let pick = |at: u64| result.rows.get(usize::try_from(at).ok()?).copied();
                let picked: Option<Vec<u32>> = order.and_then(|order| order.map(pick).collect());
                result.rows = picked.ok_or_else(|| {
                    malformed(format!(
                        "{reorder:?} does not fit {} rows",
                        result.rows.len()
                    ))
                })?;
            }
        }
    }
    Ok(result)
}

/// The rows that a reordering takes, in their new order.
fn order(rewrite: &Rewrite, rows: u64) -> Option<Box<dyn Iterator<Item = u64>>> {
    match *rewrite {
        Rewrite::SplitRows { first, rows: kept } => {
            let end = first.checked_add(kept).filter(|&end| end <= rows)?;
            Some(Box::new(first..end))
        }
        Rewrite::GroupedRows {
            part,
            kv_heads,
            queries,
            head_rows,
        } => {
            let (kv_heads, queries) = (u64::from(kv_heads), u64::from(queries));
            let head = u64::from(head_rows);
            let group = queries.checked_add(2)?.checked_mul(head)?;
            if group.checked_mul(kv_heads)? != rows {
                return None;
            }
            let (first, kept) = match part {
                Part::Queries => (0, queries * head),
                Part::Keys => (queries * head, head),
                Part::Values => ((queries + 1) * head, head),
            };
            let start = move |g: u64| g * group + first;
            Some(Box::new(
                (0..kv_heads).flat_map(move |g| start(g)..start(g) + kept),
            ))
        }
        Rewrite::PermuteRows {
            heads,
            pattern: Pattern::InterleavedToHalves,
        } => {
            let head = rows.checked_div(heads.into())?;
            if head.checked_mul(heads.into())? != rows || !head.is_multiple_of(2) {
                return None;
            }
            let half = head / 2;
            Some(Box::new((0..rows).map(move |row| {
                let (start, at) = (row / head * head, row % head);
                start + at % half * 2 + at / half
            })))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rewrite: Rewrite, rows: u64) -> Option<Vec<u32>> {
        apply(&[rewrite], rows).ok().map(|r| r.rows)
    }

    #[test]
    fn neighbours_become_halves_in_each_head() {
        let permute = |heads| Rewrite::PermuteRows {
            heads,
            pattern: Pattern::InterleavedToHalves,
        };
        let expected = vec![0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11];
        assert_eq!(rows(permute(2), 12), Some(expected));
        assert_eq!(rows(permute(0), 12), None);
        assert_eq!(rows(permute(5), 12), None);
        assert_eq!(rows(permute(4), 12), None);
    }

    #[test]
    fn groups_hold_queries_then_a_key_then_a_value() {
        let part = |part| Rewrite::GroupedRows {
            part,
            kv_heads: 2,
            queries: 2,
            head_rows: 1,
        };
        assert_eq!(rows(part(Part::Queries), 8), Some(vec![0, 1, 4, 5]));
        assert_eq!(rows(part(Part::Keys), 8), Some(vec![2, 6]));
        assert_eq!(rows(part(Part::Values), 8), Some(vec![3, 7]));
        assert_eq!(rows(part(Part::Values), 7), None);
    }

    #[test]
    fn rewrites_follow_each_other() {
        let split = Rewrite::SplitRows { first: 2, rows: 3 };
        let again = Rewrite::SplitRows { first: 1, rows: 1 };
        let both = apply(&[split.clone(), again, Rewrite::AddOne], 6).unwrap();
        assert_eq!(
            both,
            Rewritten {
                rows: vec![3],
                add: 1.0
            }
        );
        assert_eq!(rows(split, 4), None);
        assert_eq!(
            rows(
                Rewrite::SplitRows {
                    first: u64::MAX,
                    rows: 2
                },
                4
            ),
            None
        );
    }
}
