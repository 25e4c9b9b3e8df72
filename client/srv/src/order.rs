//! The order of records (RFC 2782): by priority, and among equals at random by their weights.

use crate::message::Record;

/// Puts records in order. `pick` returns a number below its argument, at random.
pub(crate) fn order(mut records: Vec<Record>, mut pick: impl FnMut(u32) -> u32) -> Vec<Record> {
    records.sort_by_key(|record| record.priority);
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let equals = records.iter().take_while(|it| it.priority == priority);
        let weights = equals.map(|it| u32::from(it.weight)).collect::<Vec<_>>();
        ordered.push(records.remove(chosen(&weights, &mut pick)));
    }
    ordered
}

/// Chooses one of these weights; the first when none has any.
fn chosen(weights: &[u32], pick: &mut impl FnMut(u32) -> u32) -> usize {
    // A message holds some thousand records, so the sum is far from the bound.
    let sum = weights.iter().sum();
    let mut left = if sum == 0 { 0 } else { pick(sum) };
    for (index, weight) in weights.iter().enumerate() {
        if left < *weight {
            return index;
        }
        left -= weight;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: u16, weight: u16, target: &str) -> Record {
        Record {
            priority,
            weight,
            port: 1,
            target: target.to_owned(),
        }
    }

    #[test]
    fn records_are_in_the_order_of_priorities_and_within_one_weights_decide() {
        let records = || {
            vec![
                record(2, 0, "late"),
                record(1, 0, "never before others"),
                record(1, 1, "light"),
                record(1, 9, "heavy"),
            ]
        };
        let targets = |pick: fn(u32) -> u32| {
            let ordered = order(records(), pick);
            ordered.into_iter().map(|it| it.target).collect::<Vec<_>>()
        };
        let least = ["light", "heavy", "never before others", "late"];
        assert_eq!(targets(|_| 0), least);
        let most = ["heavy", "light", "never before others", "late"];
        assert_eq!(targets(|sum| sum - 1), most);
    }
}
