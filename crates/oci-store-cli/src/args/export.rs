//! Of `export`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ValueEnum, ValueHint};
use clap_complete::ArgValueCompleter;
use oci_store::{Compression, PlatformSpec, RefName};

use crate::complete;

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The ref in the store [default: the only one]
    #[arg(long, value_name = "REF", conflicts_with = "all", add = ArgValueCompleter::new(complete::images))]
    pub(crate) sref: Option<String>,
    /// The image's name where it goes [default: the same name]
    #[arg(long, value_name = "REF", conflicts_with = "all")]
    pub(crate) dref: Option<RefName>,
    /// Export all refs
    #[arg(long)]
    pub(crate) all: bool,
    /// Of an index, the manifest for this platform alone
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<PlatformSpec>,
    /// Leave away the blobs that this inventory lists, but for manifests: who imports it has to have them; - reads it from
    /// stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) exclude: Option<PathBuf>,
    /// How to compress an archive [default: as its name ends: .gz, .tgz, .zst, .tzst; else not]
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) compress: Option<Compress>,
    /// Leave away what is about the images: signatures, SBOMs
    #[arg(long)]
    pub(crate) no_referrers: bool,
    /// Hash what goes into a folder, and what is there already; into an archive that is always done
    #[arg(long)]
    pub(crate) verify: bool,
    /// Make all durable before returning
    #[arg(long)]
    pub(crate) sync: bool,
    /// Refs, if --sref is not given, and where to: oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:REF]; - for
    /// an archive on stdout; or a path: a folder, or an archive if it is one or ends in .tar, .tar.gz, .tgz, .tar.zst, .tzst.
    /// An archive that is there is replaced as a whole: no image is added to it
    #[arg(value_name = "[REF]... DESTINATION", required = true, num_args = 1..,
        add = ArgValueCompleter::new(complete::images_and_paths))]
    pub(crate) places: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compress {
    /// Not at all
    None,
    /// With gzip
    Gzip,
    /// With Zstandard
    Zstd,
}

impl From<Compress> for Compression {
    fn from(compress: Compress) -> Self {
        match compress {
            Compress::None => Self::None,
            Compress::Gzip => Self::Gzip,
            Compress::Zstd => Self::Zstd,
        }
    }
}
