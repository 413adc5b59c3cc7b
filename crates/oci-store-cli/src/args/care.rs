//! Of `check`, `prune` and `maintain`.

use std::time::Duration;

use clap::ArgGroup;
use clap_complete::ArgValueCompleter;
use oci_store::{Place, Reading, RefName};

use super::image::place;
use crate::complete;

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// Refs; none: all refs and pins
    #[arg(value_name = "REF", add = ArgValueCompleter::new(complete::refs))]
    pub(crate) refs: Vec<RefName>,
    /// Read every blob and hash it
    #[arg(long)]
    pub(crate) read_data: bool,
    /// Read the Nth share of M, by digest, and hash it: M checks, 1/M to M/M, read all
    #[arg(long, value_name = "N/M", value_parser = share, conflicts_with_all = ["read_data", "budget"])]
    pub(crate) read_data_subset: Option<Reading>,
    /// Read and hash for so long (10m), those blobs first that were verified longest ago
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, conflicts_with = "read_data")]
    pub(crate) budget: Option<Duration>,
    /// Read every blob, and fetch what is missing or damaged from the sources that --from names; also what incomplete
    /// images lack
    #[arg(long, requires = "from", conflicts_with_all = ["read_data_subset", "budget"])]
    pub(crate) repair: bool,
    /// A layout or an archive, as import takes them; may be given several times
    #[arg(long, value_name = "SOURCE", requires = "repair", value_parser = place())]
    pub(crate) from: Vec<Place>,
}

impl Check {
    pub(crate) fn reading(&self) -> Reading {
        match (self.read_data_subset, self.budget) {
            (Some(share), _) => share,
            (_, Some(budget)) => Reading::Within(budget),
            _ => self.read_data.into(),
        }
    }
}

fn share(text: &str) -> Result<Reading, String> {
    let numbers = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    match numbers {
        Some((part, of)) if (1..=of).contains(&part) => Ok(Reading::Share { part, of }),
        _ => Err("it takes two numbers, as in 1/7, the first from 1 to the second".to_owned()),
    }
}

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("policy").required(true).multiple(true).args(["keep_last", "older_than", "filter"]))]
pub(crate) struct Prune {
    /// Remove all but the newest N of each name (what stands before the tag), by the time they were set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) keep_last: Option<u32>,
    /// Remove those set longer ago than this (12h, 30days)
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub(crate) older_than: Option<Duration>,
    /// Look at no others than those whose whole name is so: * is any text, ? one character, [ab] one of these
    #[arg(long, value_name = "PATTERN", value_parser = glob::Pattern::new)]
    pub(crate) filter: Option<glob::Pattern>,
    /// Remove nothing, and say what would be
    #[arg(long)]
    pub(crate) dry_run: bool,
}
