//! Which values share a counter: four buckets for every power of two, the smallest values alone.

/// Bits of a value, below its highest, that tell its bucket. With two, a bucket is at most a
/// quarter as wide as its smallest value is large.
const FINE_BITS: u32 = 2;
/// Buckets per power of two.
const FINE: u64 = 1 << FINE_BITS;

/// The number of the bucket that holds `value`.
pub(crate) fn index(value: u64) -> usize {
    let number = if value < FINE {
        value
    } else {
        let shift = value.ilog2() - FINE_BITS;
        u64::from(shift) * FINE + (value >> shift)
    };
    usize::try_from(number).expect("there are no more than 252 buckets")
}

/// The smallest and the largest value of a bucket.
pub(crate) fn bounds(index: usize) -> (u64, u64) {
    let number = index as u64;
    if number < FINE {
        return (number, number);
    }
    let shift = number / FINE - 1;
    let first = (number % FINE + FINE) << shift;
    (first, first + ((1 << shift) - 1))
}

/// The value in the middle of a bucket.
pub(crate) fn middle(index: usize) -> u64 {
    let (first, last) = bounds(index);
    first + (last - first) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap_from_zero_to_the_largest_value() {
        let last_bucket = index(u64::MAX);
        assert_eq!(last_bucket, 251);
        let mut next = 0;
        for bucket in 0..=last_bucket {
            let (first, last) = bounds(bucket);
            assert_eq!(first, next, "bucket {bucket}");
            assert_eq!((index(first), index(last)), (bucket, bucket));
            next = last.wrapping_add(1);
        }
        assert_eq!(next, 0, "the last bucket ends with the largest value");
    }

    #[test]
    fn small_values_are_exact_and_large_ones_within_an_eighth() {
        for value in 0..8 {
            assert_eq!(middle(index(value)), value);
        }
        for power in 3..64 {
            for value in [1 << power, (1 << power) + 1, u64::MAX >> (63 - power)] {
                let off = middle(index(value)).abs_diff(value);
                assert!(off <= value / 8, "{value} is {off} off");
            }
        }
    }
}
