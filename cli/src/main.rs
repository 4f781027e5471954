//! The `kakera` command.

mod arguments;
mod configuration;
mod demo;
mod failure;
mod output;
mod progress;
mod quantity;
mod usage;
fn main() {}
