//! Samples, and what is said of them.

/// The smallest, the middle and the largest of some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) minimum: f64,
    pub(crate) median: f64,
    pub(crate) maximum: f64,
}

impl Summary {
    /// Of `samples`; `None` where there are none.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        Some(Self {
            minimum: quantile(samples, 0, 1)?,
            median: median(samples)?,
            maximum: quantile(samples, 1, 1)?,
        })
    }
}

/// The middle of `samples`, or the mean of the two in the middle.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let sorted = sorted(samples);
    let (low, high) = (sorted.len().checked_sub(1)? / 2, sorted.len() / 2);
    Some(f64::midpoint(sorted[low], sorted[high]))
}

/// The sample below which `numerator` of `denominator` parts lie (nearest rank).
pub(crate) fn quantile(samples: &[f64], numerator: usize, denominator: usize) -> Option<f64> {
    let rank = (samples.len() * numerator).div_ceil(denominator);
    sorted(samples).get(rank.saturating_sub(1)).copied()
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
