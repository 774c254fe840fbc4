//! Figures over time, and their slope.

use serde::Serialize;

/// Values with their times, in seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<(f64, f64)>);

/// How a value grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Slope {
    pub(crate) peak: f64,
    /// The mean of the last half.
    pub(crate) mean: f64,
    /// The slope of the last half by least squares, as a part of the mean for each minute.
    pub(crate) per_minute: f64,
}

impl Series {
    pub(crate) fn push(&mut self, at: f64, value: f64) {
        self.0.push((at, value));
    }

    pub(crate) fn points(&self) -> &[(f64, f64)] {
        &self.0
    }

    pub(crate) fn slope(&self) -> Slope {
        let peak = self.0.iter().map(|(_, value)| *value).fold(0.0, f64::max);
        let half = self.0.split_at(self.0.len() / 2).1;
        let n = half.len() as f64;
        let (at, mean) = half.iter().fold((0.0, 0.0), |(at, mean), (x, y)| (at + x / n, mean + y / n));
        let (over, under) = half
            .iter()
            .fold((0.0, 0.0), |(over, under), (x, y)| (over + (x - at) * (y - mean), under + (x - at) * (x - at)));
        let per_minute = if under > 0.0 && mean > 0.0 { over / under * 60.0 / mean } else { 0.0 };
        Slope { peak, mean, per_minute }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slope(points: &[(f64, f64)]) -> Slope {
        let mut series = Series::default();
        points.iter().for_each(|(at, value)| series.push(*at, *value));
        series.slope()
    }

    #[test]
    fn the_slope_is_that_of_the_last_half() {
        let flat = slope(&[(0.0, 1.0), (60.0, 900.0), (120.0, 100.0), (180.0, 100.0)]);
        assert_eq!(flat, Slope { peak: 900.0, mean: 100.0, per_minute: 0.0 });
        // From 100 to 110 in a minute, around a mean of 105.
        let rising = slope(&[(0.0, 0.0), (60.0, 0.0), (120.0, 100.0), (180.0, 110.0)]);
        assert!((rising.per_minute - 10.0 / 105.0).abs() < 1e-12, "{rising:?}");
    }

    #[test]
    fn too_few_values_have_no_slope() {
        assert_eq!(slope(&[]), Slope::default());
        assert_eq!(slope(&[(1.0, 5.0)]), Slope { peak: 5.0, mean: 5.0, per_minute: 0.0 });
    }
}
