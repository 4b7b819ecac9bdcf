//! Where a value stands on a plot.

/// A line of values from one position to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    scale: Scale,
    /// The values at its ends.
    values: (f64, f64),
    /// The positions of its ends, in pixels.
    pixels: (f64, f64),
}

/// How values are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero.
    Linear,
    Logarithmic,
}

/// The steps between ticks of a linear axis, the first that gives few enough being taken.
const STEPS: [f64; 7] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0];
const TICKS: f64 = 12.0;

impl Axis {
    /// An axis on which every one of `values` has a place; `None` where there are none.
    pub(super) fn over(
        values: impl IntoIterator<Item = f64>,
        scale: Scale,
        pixels: (f64, f64),
    ) -> Option<Self> {
        let (smallest, largest) = values
            .into_iter()
            .filter(|value| *value > 0.0)
            .map(|value| (value, value))
            .reduce(|so_far, next| (so_far.0.min(next.0), so_far.1.max(next.1)))?;
        let values = match scale {
            Scale::Linear => (0.0, largest * 1.06),
            Scale::Logarithmic => (smallest / 1.2, largest * 1.2),
        };
        Some(Self {
            scale,
            values,
            pixels,
        })
    }

    /// The position of `value`; of the nearest end where it is beyond.
    pub(super) fn position(&self, value: f64) -> f64 {
        let (first, last) = self.values;
        let value = value.clamp(first, last);
        let share = match self.scale {
            Scale::Linear => (value - first) / (last - first),
            Scale::Logarithmic => (value / first).ln() / (last / first).ln(),
        };
        self.pixels.0 + share * (self.pixels.1 - self.pixels.0)
    }

    /// Round values between its ends.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let (first, last) = self.values;
        match self.scale {
            Scale::Linear => {
                let step = STEPS.into_iter().find(|step| last / step <= TICKS);
                let step = step.unwrap_or(last);
                std::iter::successors(Some(0.0), |tick| Some(tick + step))
                    .take_while(|tick| *tick <= last)
                    .collect()
            }
            Scale::Logarithmic => (-9..=9)
                .flat_map(|decade| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(decade)))
                .filter(|tick| (first..=last).contains(tick))
                .collect(),
        }
    }
}
