//! Of `blobs`.

use std::time::Duration;

use bytesize::ByteSize;
use clap_complete::ArgValueCompleter;

use crate::complete;

#[derive(Debug, clap::Args)]
pub(crate) struct Blobs {
    /// Of this media type
    #[arg(long)]
    pub(crate) media_type: Option<String>,
    /// Of this algorithm
    #[arg(long)]
    pub(crate) algorithm: Option<String>,
    /// At least so large (4KiB, 10MB)
    #[arg(long, value_name = "SIZE")]
    pub(crate) min_size: Option<ByteSize>,
    /// At most so large
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<ByteSize>,
    /// Came in longer ago than this (12h, 30days)
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub(crate) older_than: Option<Duration>,
    /// Came in less long ago than this
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub(crate) newer_than: Option<Duration>,
    /// Not used for this long
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub(crate) unused_for: Option<Duration>,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Only those behind this digest, or behind all that begin so: the next page
    #[arg(long, value_name = "DIGEST", add = ArgValueCompleter::new(complete::digests))]
    pub(crate) after: Option<String>,
}
