//! Clap's refusals in the form of every other failure.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::failure::{Failure, Kind};

/// What to do when the command line is not one.
pub(crate) enum Refusal {
    /// Print this text and succeed: help or the version was asked for.
    Answer(clap::Error),
    /// The command line is wrong.
    Failure(Failure),
}

impl Refusal {
    /// Sorts clap's error.
    pub(crate) fn of(error: clap::Error) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Self::Answer(error),
            _ => Self::Failure(failure(&error)),
        }
    }
}

fn failure(error: &clap::Error) -> Failure {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::new(Kind::Usage, "a command is missing", "kakera --help");
    }
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or(&text);
    let lines = first.lines().map(str::trim);
    let message = lines.collect::<Vec<_>>().join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    Failure::new(Kind::Usage, message, suggestion(error).unwrap_or_else(|| help_command(&text)))
}

fn suggestion(error: &clap::Error) -> Option<String> {
    let kinds =
        [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    kinds.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(value) => Some(value.clone()),
        ContextValue::Strings(values) => values.first().cloned(),
        _ => None,
    })
}

/// The words of the usage line up to its first option or argument name the command.
fn help_command(text: &str) -> String {
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: ")).unwrap_or("kakera");
    let is_word = |word: &&str| word.starts_with(|first: char| first.is_ascii_lowercase());
    let words: Vec<&str> = usage.split_whitespace().take_while(is_word).collect();
    format!("{} --help", words.join(" "))
}
