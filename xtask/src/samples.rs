//! Quantiles of samples.

/// The middle of ascending samples, the upper one of two; not a number without any.
pub(crate) fn median(ascending: &[f64]) -> f64 {
    percentile(ascending, 50.0)
}

/// The first of the ascending samples after `percent` of them; not a number without any.
pub(crate) fn percentile(ascending: &[f64], percent: f64) -> f64 {
    let place = (ascending.len() as f64 * percent / 100.0) as usize;
    let last = ascending.len().saturating_sub(1);
    ascending.get(place.min(last)).copied().unwrap_or(f64::NAN)
}

/// The same samples in ascending order.
pub(crate) fn ascending(samples: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sorted: Vec<f64> = samples.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples = ascending([5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(median(&samples), 3.0);
        assert_eq!(percentile(&samples, 0.0), 1.0);
        assert_eq!(percentile(&samples, 99.0), 5.0);
        assert_eq!(percentile(&samples, 100.0), 5.0);
        assert!(median(&[]).is_nan());
    }
}
