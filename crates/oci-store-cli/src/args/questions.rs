//! Of the commands that answer questions.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Subcommand, ValueHint};
use clap_complete::ArgValueCompleter;
use oci_store::{PlatformSpec, RefName};

use crate::complete;

#[derive(Debug, clap::Args)]
pub(crate) struct Why {
    /// A digest, or the beginning of one, or a ref
    #[arg(add = ArgValueCompleter::new(complete::images))]
    pub(crate) blob: String,
    /// Print at most so many paths
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) limit: usize,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Tree {
    /// A ref, a digest, or the beginning of one
    #[arg(add = ArgValueCompleter::new(complete::images))]
    pub(crate) image: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Referrers {
    /// A ref, a digest, or the beginning of one
    #[arg(add = ArgValueCompleter::new(complete::images))]
    pub(crate) image: String,
    /// Only those of this type
    #[arg(long, value_name = "TYPE")]
    pub(crate) artifact_type: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Differ {
    /// A ref, a digest, or the beginning of one
    #[arg(add = ArgValueCompleter::new(complete::images))]
    pub(crate) old: String,
    /// What is compared with it
    #[arg(add = ArgValueCompleter::new(complete::images))]
    pub(crate) new: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Find {
    /// With this annotation, of the ref's entry, of a document of the image, or of what that lists; may be given several times
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = pair)]
    pub(crate) annotation: Vec<(String, Option<String>)>,
    /// With this label in a config of the image; may be given several times
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = pair)]
    pub(crate) label: Vec<(String, Option<String>)>,
    /// With a manifest for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<PlatformSpec>,
    /// With a blob of this media type
    #[arg(long, value_name = "TYPE")]
    pub(crate) media_type: Option<String>,
    /// At least so large, all blobs of the image together (4KiB, 10MB)
    #[arg(long, value_name = "SIZE")]
    pub(crate) min_size: Option<ByteSize>,
    /// At most so large
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<ByteSize>,
    /// Set longer ago than this (12h, 30days)
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub(crate) older_than: Option<Duration>,
    /// Set less long ago than this
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    pub(crate) newer_than: Option<Duration>,
    /// With this layer, or any other blob: a digest, or the beginning of one
    #[arg(long, value_name = "DIGEST", add = ArgValueCompleter::new(complete::digests))]
    pub(crate) layer: Option<String>,
}

/// `KEY` or `KEY=VALUE`.
fn pair(text: &str) -> Result<(String, Option<String>), String> {
    let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value.to_owned())));
    if key.is_empty() { Err("it takes KEY or KEY=VALUE".to_owned()) } else { Ok((key.to_owned(), value)) }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Du {
    /// Refs; none: all
    #[arg(value_name = "REF", add = ArgValueCompleter::new(complete::refs))]
    pub(crate) refs: Vec<RefName>,
    /// Also write a page with a picture of who shares what: one file that needs nothing else; - for stdout, in the place of
    /// the table
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,
    /// Also write the picture alone; - for stdout
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LeaseCommand {
    /// List leases, live and dead: what running commands keep
    Ls,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Log {
    /// A ref, also one that is gone; none: all
    #[arg(value_name = "REF", add = ArgValueCompleter::new(complete::refs))]
    pub(crate) name: Option<RefName>,
    /// At most so many changes
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Undo {
    /// The ref whose last change is to be undone, also one that is gone; none: all that the last command changed
    #[arg(value_name = "REF", add = ArgValueCompleter::new(complete::refs))]
    pub(crate) name: Option<RefName>,
}
