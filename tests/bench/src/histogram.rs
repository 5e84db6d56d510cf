//! Latency histogram with bounded relative error. Changes when its precision or range does.

use std::time::Duration;

/// Each power of two of nanoseconds is cut into this many buckets: an error of at most 1/64.
const SUB_BITS: u32 = 6;
const SUB: u64 = 1 << SUB_BITS;
/// Everything at or above 2^40 ns (18 minutes) shares the last bucket.
const TOP_BIT: u32 = 40;
const BUCKETS: usize = ((TOP_BIT - SUB_BITS + 1) as usize) << SUB_BITS;

/// Counts of latencies.
#[derive(Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Histogram {
    /// An empty histogram.
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max: Duration::ZERO }
    }

    /// Adds one latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(index(nanos)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(latency);
    }

    /// Adds all latencies of another histogram.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// The latency that `permille` of all requests did not exceed; zero when empty.
    pub(crate) fn quantile(&self, permille: u64) -> Duration {
        let rank = (self.count * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (position, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper_bound(position)).min(self.max);
            }
        }
        self.max
    }

    /// The largest latency, exact.
    pub(crate) fn max(&self) -> Duration {
        self.max
    }
}

fn index(nanos: u64) -> usize {
    let nanos = nanos.min((1 << TOP_BIT) - 1);
    let position = if nanos < SUB {
        nanos
    } else {
        let shift = nanos.ilog2() - SUB_BITS;
        (u64::from(shift + 1) << SUB_BITS) + ((nanos >> shift) - SUB)
    };
    usize::try_from(position).unwrap_or(usize::MAX)
}

fn upper_bound(position: usize) -> u64 {
    let position = position as u64;
    let (block, offset) = (position >> SUB_BITS, position & (SUB - 1));
    if block == 0 { offset } else { ((SUB + offset + 1) << (block - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_that_is_at_most_one_part_in_64_wide() {
        let mut value = 1u64;
        while value < 1 << 39 {
            for nanos in [value - 1, value, value + 1, value + value / 3] {
                let bound = upper_bound(index(nanos));
                assert!(bound >= nanos && bound - nanos <= nanos / 64, "{nanos} reported as {bound}");
            }
            value *= 2;
        }
    }

    #[test]
    fn quantiles_are_those_of_the_recorded_values() {
        let mut low = Histogram::new();
        let mut high = Histogram::new();
        (1..=500).for_each(|micros| low.record(Duration::from_micros(micros)));
        (501..=1000).for_each(|micros| high.record(Duration::from_micros(micros)));
        low.merge(&high);
        for (permille, expected) in [(500, 500.0), (900, 900.0), (990, 990.0)] {
            let measured = low.quantile(permille).as_secs_f64() * 1e6;
            assert!((measured - expected).abs() <= expected / 64.0, "p{permille}: {measured}");
        }
        assert_eq!(low.max(), Duration::from_millis(1));
    }

    #[test]
    fn an_hour_is_counted_and_an_empty_histogram_answers() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(990), Duration::ZERO);
        histogram.record(Duration::from_hours(1));
        assert_eq!(histogram.max(), Duration::from_hours(1));
        assert!(histogram.quantile(500) >= Duration::from_secs(1000));
    }
}
