//! Clap's refusals in the form of every other failure.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::arguments::Arguments;
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
    Failure::of(Kind::Usage, message, suggestion(error).unwrap_or_else(help_command))
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

/// The help of the command that these words begin.
fn help_command() -> String {
    let tree = Arguments::command();
    let mut command = &tree;
    let mut names = vec!["kakera"];
    for word in std::env::args_os().skip(1) {
        if let Some(found) = command.find_subcommand(&word) {
            command = found;
            names.push(found.get_name());
        }
    }
    format!("{} --help", names.join(" "))
}
