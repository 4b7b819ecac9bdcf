//! Samples, and what is said of them.

/// The smallest, the middle and the largest of some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) minimum: f64,
    pub(crate) median: f64,
    pub(crate) maximum: f64,
}

/// How many samples have to lie beyond a point of a curve: fewer are chance.
const BEYOND: f64 = 10.0;

/// How samples are spread.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    /// Percentiles, from 0 on, and the samples at them.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve {
    /// Of `samples`, as far as they are many enough.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nobody takes that many samples, and a rank is one of them"
    )]
    pub(crate) fn of(name: &'static str, samples: &[f64]) -> Self {
        let sorted = sorted(samples);
        let count = sorted.len() as f64;
        // Equally far apart by nines, from none to four.
        let nines = (0..=80).map(|step| 100.0 - 10f64.powf(2.0 - f64::from(step) / 20.0));
        let mut percentiles: Vec<_> = nines.chain([50.0]).collect();
        percentiles.sort_by(f64::total_cmp);
        let points = percentiles
            .into_iter()
            .take_while(|percentile| (100.0 - percentile) / 100.0 * count >= BEYOND)
            .filter_map(|percentile| {
                let rank = (percentile / 100.0 * count).ceil() as usize;
                Some((percentile, *sorted.get(rank.saturating_sub(1))?))
            })
            .collect();
        Self { name, points }
    }

    /// The sample at one of its percentiles.
    pub(crate) fn at(&self, percentile: f64) -> Option<f64> {
        let mut points = self.points.iter();
        let point = points.find(|point| (point.0 - percentile).abs() < 1e-9)?;
        Some(point.1)
    }
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
