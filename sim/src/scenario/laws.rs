//! Distributions in scenarios.

use toml::Value;

use super::reader::{Reader, ScenarioError, quantity};
use crate::quantity::parse_span;
use crate::random::Law;

/// What a law may look like.
const EXAMPLE: &str = "{ exponential = \"180d\" }";
const KINDS: [&str; 6] = ["exponential", "weibull", "lognormal", "uniform", "fixed", "empirical"];

/// A law, if the key is there.
pub(super) fn law(reader: &mut Reader, key: &'static str) -> Result<Option<Law>, ScenarioError> {
    let at = reader.at(key);
    reader.take(key).map(|value| read(&at, value)).transpose()
}

/// One law or a list of laws, of which the first end counts; the key must be there.
pub(super) fn laws(reader: &mut Reader, key: &'static str) -> Result<Vec<Law>, ScenarioError> {
    let at = reader.at(key);
    match reader.take(key) {
        None => Err(reader.missing(key, EXAMPLE)),
        Some(Value::Array(list)) => {
            (1..).zip(list).map(|(number, value)| read(&format!("{at}[{number}]"), value)).collect()
        }
        Some(value) => Ok(vec![read(&at, value)?]),
    }
}

fn read(at: &str, value: Value) -> Result<Law, ScenarioError> {
    if value.as_str() == Some("never") {
        return Ok(Law::Never);
    }
    let unknown = |what: String| {
        let advice = format!("{EXAMPLE}; kinds are {}, and \"never\"", KINDS.join(", "));
        ScenarioError::new(at, what, advice)
    };
    let Value::Table(table) = value else {
        return Err(unknown("does not say which law it follows".into()));
    };
    let mut entries = table.into_iter();
    let (Some((kind, parameters)), None) = (entries.next(), entries.next()) else {
        return Err(unknown("is not one law".into()));
    };
    let at = format!("{at}.{kind}");
    let law = match kind.as_str() {
        "exponential" => Law::Exponential { mean: quantity(&at, &parameters, parse_span)? },
        "uniform" => Law::Uniform { longest: quantity(&at, &parameters, parse_span)? },
        "fixed" => Law::Fixed(quantity(&at, &parameters, parse_span)?),
        "weibull" => weibull(&at, parameters)?,
        "lognormal" => log_normal(&at, parameters)?,
        "empirical" => empirical(&at, parameters)?,
        _ => return Err(unknown(format!("there is no law '{kind}'"))),
    };
    law.check().map_err(|error| ScenarioError::of(&at, error, EXAMPLE))?;
    Ok(law)
}

fn weibull(at: &str, parameters: Value) -> Result<Law, ScenarioError> {
    let mut reader = Reader::of(at, parameters, "{ shape = 0.7, scale = \"180d\" }")?;
    let shape = reader.number("shape", "0.7")?;
    let scale = reader.quantity("scale", parse_span)?;
    let scale = scale.ok_or_else(|| reader.missing("scale", "\"180d\""))?;
    let location = reader.quantity("location", parse_span)?.unwrap_or(0.0);
    reader.finish()?;
    Ok(Law::Weibull { shape, scale, location })
}

fn log_normal(at: &str, parameters: Value) -> Result<Law, ScenarioError> {
    let mut reader = Reader::of(at, parameters, "{ median = \"2h\", sigma = 1.65 }")?;
    let median = reader.quantity("median", parse_span)?;
    let median = median.ok_or_else(|| reader.missing("median", "\"2h\""))?;
    let sigma = reader.number("sigma", "1.65")?;
    reader.finish()?;
    Ok(Law::LogNormal { median, sigma })
}

fn empirical(at: &str, parameters: Value) -> Result<Law, ScenarioError> {
    let Value::Array(list) = parameters else {
        return Err(ScenarioError::new(at, "is not a list of spans", "[\"1h\", \"5h\", \"3d\"]"));
    };
    let mut spans = (1..)
        .zip(&list)
        .map(|(number, value)| quantity(&format!("{at}[{number}]"), value, parse_span))
        .collect::<Result<Vec<f64>, _>>()?;
    spans.sort_by(f64::total_cmp);
    Ok(Law::Empirical(spans))
}
