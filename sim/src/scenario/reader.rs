//! Reading TOML strictly: every key is known, every value has its unit, and an error is one line that
//! says where it is and what to write.

use thiserror::Error;
use toml::{Table, Value};

use crate::quantity::QuantityError;

/// What is wrong with a scenario.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{at}: {message}; try: {advice}")]
pub struct ScenarioError {
    /// The key, as `network.nodes`, or the line.
    pub at: String,
    /// What is wrong there.
    pub message: String,
    /// What to write.
    pub advice: String,
}

impl ScenarioError {
    pub(crate) fn new(
        at: impl Into<String>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { at: at.into(), message: message.into(), advice: advice.into() }
    }

    /// An error whose message ends in its own advice, as those of quantities and codes do.
    pub(crate) fn of(at: impl Into<String>, error: impl std::fmt::Display, advice: &str) -> Self {
        let message = error.to_string();
        match message.rsplit_once("; try: ") {
            Some((message, advice)) => Self::new(at, message, advice),
            None => Self::new(at, message, advice),
        }
    }
}

/// A table that is being read: keys are taken out, and those that are left are errors.
pub(crate) struct Reader {
    path: String,
    table: Table,
    /// Keys that were asked for.
    known: Vec<&'static str>,
}

impl Reader {
    /// Reads a text.
    pub(crate) fn parse(text: &str) -> Result<Self, ScenarioError> {
        let table = text.parse::<Table>().map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let message = error.message().lines().next().unwrap_or_default().to_owned();
            ScenarioError::new(format!("line {line}"), message, "TOML: key = value, [section]")
        })?;
        Ok(Self { path: String::new(), table, known: Vec::new() })
    }

    /// The table as it stands.
    pub(crate) fn table_mut(&mut self) -> &mut Table {
        &mut self.table
    }

    /// Reads a table that stands as a value.
    pub(crate) fn of(path: &str, value: Value, example: &str) -> Result<Self, ScenarioError> {
        match value {
            Value::Table(table) => Ok(Self { path: path.into(), table, known: Vec::new() }),
            value => {
                let message = format!("{} is not a set of parameters", show(&value));
                Err(ScenarioError::new(path, message, example))
            }
        }
    }

    /// The full name of a key.
    pub(crate) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    /// A value, if it is there.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    /// Whether a value is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A table below, if it is there.
    pub(crate) fn section(&mut self, key: &'static str) -> Result<Option<Self>, ScenarioError> {
        let path = self.at(key);
        match self.take(key) {
            None => Ok(None),
            Some(Value::Table(table)) => Ok(Some(Self { path, table, known: Vec::new() })),
            Some(_) => {
                Err(ScenarioError::new(path.clone(), "is not a section", format!("[{path}]")))
            }
        }
    }

    /// A text, if it is there.
    pub(crate) fn text(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Result<Option<String>, ScenarioError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.wrong(key, &value, "a text", example)),
        }
    }

    /// A quantity in its unit, if it is there.
    pub(crate) fn quantity(
        &mut self,
        key: &'static str,
        parse: fn(&str) -> Result<f64, QuantityError>,
    ) -> Result<Option<f64>, ScenarioError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        quantity(&self.at(key), &value, parse).map(Some)
    }

    /// A whole number in a range, if it is there.
    pub(crate) fn count(
        &mut self,
        key: &'static str,
        least: u64,
        greatest: u64,
    ) -> Result<Option<u64>, ScenarioError> {
        let example = || least.max(1).to_string();
        match self.take(key) {
            None => Ok(None),
            Some(Value::Integer(value)) => match u64::try_from(value) {
                Ok(count) if (least..=greatest).contains(&count) => Ok(Some(count)),
                _ => Err(ScenarioError::new(
                    self.at(key),
                    format!("{value} is not between {least} and {greatest}"),
                    example(),
                )),
            },
            Some(value) => Err(self.wrong(key, &value, "a whole number", &example())),
        }
    }

    /// Whether a key says true; false if it is not there.
    pub(crate) fn flag(&mut self, key: &'static str) -> Result<bool, ScenarioError> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Boolean(value)) => Ok(value),
            Some(value) => {
                let message = format!("{} is neither true nor false", show(&value));
                Err(ScenarioError::new(self.at(key), message, format!("{key} = true")))
            }
        }
    }

    /// A number, if it is there.
    pub(crate) fn optional_number(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Result<Option<f64>, ScenarioError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Float(value)) => Ok(Some(value)),
            Some(Value::Integer(value)) => Ok(Some(value as f64)),
            Some(value) => Err(self.wrong(key, &value, "a number", example)),
        }
    }

    /// A number, which must be there.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        example: &str,
    ) -> Result<f64, ScenarioError> {
        self.optional_number(key, example)?.ok_or_else(|| self.missing(key, example))
    }

    /// The error of a key that must be there.
    pub(crate) fn missing(&self, key: &str, example: &str) -> ScenarioError {
        ScenarioError::new(self.at(key), "is missing", format!("{key} = {example}"))
    }

    fn wrong(&self, key: &str, value: &Value, kind: &str, example: &str) -> ScenarioError {
        let message = format!("{} is not {kind}", show(value));
        ScenarioError::new(self.at(key), message, format!("{key} = {example}"))
    }

    /// Every key must have been asked for.
    pub(crate) fn finish(self) -> Result<(), ScenarioError> {
        let Some(key) = self.table.keys().next() else { return Ok(()) };
        let likeness = |known: &&str| (strsim::jaro_winkler(key, known) * 1000.0) as u32;
        let nearest = self.known.iter().copied().max_by_key(likeness).unwrap_or_default();
        Err(ScenarioError::new(
            self.at(key),
            "there is no such key",
            format!("'{nearest}'; known here are {}", self.known.join(", ")),
        ))
    }
}

/// Reads a quantity, which TOML holds as a text.
pub(crate) fn quantity(
    at: &str,
    value: &Value,
    parse: fn(&str) -> Result<f64, QuantityError>,
) -> Result<f64, ScenarioError> {
    let text = match value {
        Value::String(text) => text.clone(),
        // A bare number has no unit, which the parser says better.
        value => show(value),
    };
    parse(&text).map_err(|error| ScenarioError::of(at, error, ""))
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{text}'"),
        Value::Table(_) => "a section".into(),
        Value::Array(_) => "a list".into(),
        value => value.to_string(),
    }
}
