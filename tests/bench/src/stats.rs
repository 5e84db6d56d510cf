//! Median and spread of a few rounds. Changes when rounds are summed up in another way.

use std::fmt;

use serde_json::{Value, json};

/// Rounds summed up: half of them lie on each side of `median`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Sums up; `None` when there is nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let median =
            if values.len() % 2 == 1 { upper } else { f64::midpoint(*values.get(middle - 1)?, upper) };
        Some(Self { median, min, max })
    }

    /// For the JSON report.
    pub(crate) fn to_json(self) -> Value {
        json!({"median": self.median, "min": self.min, "max": self.max})
    }
}

/// `median (min–max)`, with the precision the caller asks for.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        write!(f, "{:.digits$} ({:.digits$}–{:.digits$})", self.median, self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_rounds() {
        let odd = Spread::of([9.0, 1.0, 4.0]).unwrap();
        assert_eq!(odd, Spread { median: 4.0, min: 1.0, max: 9.0 });
        assert_eq!(Spread::of([3.0, 1.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([]), None);
        assert_eq!(format!("{odd:.0}"), "4 (1–9)");
    }
}
