//! Numbers of any size, as people read them.

/// A number with at most so many significant digits, without trailing zeros.
pub(super) fn show(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..9).contains(&exponent) {
        let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
        trim(&format!("{value:.decimals$}")).into()
    } else {
        format!("{}e{exponent}", trim(mantissa))
    }
}

fn trim(number: &str) -> &str {
    match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_the_digits_they_have() {
        let shown = [0.0, 9.36, 1e-14, 3.54e-10, 12_345_678.0, 1.5e12, 100.0, -0.25];
        let shown = shown.map(|value| show(value, 6));
        assert_eq!(shown, ["0", "9.36", "1e-14", "3.54e-10", "12345678", "1.5e12", "100", "-0.25"]);
    }
}
