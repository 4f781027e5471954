//! `papers`: published experiments, run again. What is published, what was measured here and how
//! stands in the folder of the same name under `papers/`.

mod chart;
mod medical_alpha;
mod sakai_2017;
mod traffic;

use anyhow::Result;

use crate::report::Report;

#[derive(clap::Subcommand)]
pub(crate) enum Paper {
    /// Medical alpha (Nihon University): 4000 writes, each followed by its sync to another server
    MedicalAlpha(medical_alpha::Options),
    /// Sakai (Tohoku University): half of all nodes are lost at once, and redundancy comes back
    #[command(name = "sakai-2017")]
    Sakai2017(sakai_2017::Options),
}

pub(crate) fn run(paper: &Paper) -> Result<Report> {
    match paper {
        Paper::MedicalAlpha(options) => medical_alpha::run(options),
        Paper::Sakai2017(options) => sakai_2017::run(options),
    }
}
