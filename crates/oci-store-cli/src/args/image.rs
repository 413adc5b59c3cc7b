//! Of `import`.

use bytesize::ByteSize;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ValueEnum, ValueHint};
use clap_complete::ArgValueCompleter;
use oci_store::{Limits, LinkMode, Place, PlatformSpec, RefName};

use crate::complete;

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The image's name in the layout, or a digest [default: the only one]
    #[arg(long, value_name = "REF", conflicts_with = "all")]
    pub(crate) sref: Option<String>,
    /// The ref to set in the store [default: the same name]
    #[arg(long, value_name = "REF", conflicts_with = "all", add = ArgValueCompleter::new(complete::refs))]
    pub(crate) dref: Option<RefName>,
    /// Import all images that have a name
    #[arg(long)]
    pub(crate) all: bool,
    /// Of an index, the manifest for this platform alone; of several entries with one name, that of this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<PlatformSpec>,
    /// Leave out referrers: signatures, SBOMs
    #[arg(long)]
    pub(crate) no_referrers: bool,
    /// Take an image that lacks blobs; its ref records it
    #[arg(long)]
    pub(crate) allow_incomplete: bool,
    /// How to take blobs from a layout's folder
    #[arg(long, value_name = "HOW", value_enum, default_value_t = How::Auto)]
    pub(crate) link: How,
    /// Remove what was taken from the layout's folder when all is in the store: its entries in index.json, and the blobs
    /// that nothing left there refers to. Blobs come by hard links, where that can be. Not while another tool writes there
    #[arg(long = "move", conflicts_with = "link")]
    pub(crate) moves: bool,
    /// Go on where an import was interrupted by a kill, a power cut or, if it had this flag too, Ctrl-C; what is there is
    /// verified, and as long as no gc has removed it, only the rest is read
    #[arg(long)]
    pub(crate) resume: bool,
    /// The most bytes that a manifest may have; up to 64 MiB
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = at_most(Limits::OWN.manifest))]
    pub(crate) max_manifest: ByteSize,
    /// The most bytes that index.json may have; up to 1 GiB
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = at_most(Limits::OWN.index_json))]
    pub(crate) max_index: ByteSize,
    /// The most descriptors that an image may have in all its manifests and indexes; of a stream, all its images
    #[arg(long, value_name = "N", default_value_t = Limits::default().descriptors)]
    pub(crate) max_descriptors: u64,
    /// Image layouts, or tar archives of them or of docker save, compressed or not: paths, oci:DIR[:REF],
    /// oci-archive:FILE[:REF], docker-archive:FILE[:REF], or - for stdin
    #[arg(value_name = "SOURCE", required = true, value_parser = place(), value_hint = ValueHint::AnyPath)]
    pub(crate) sources: Vec<Place>,
}

/// How blobs come out of a layout's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    /// A reflink where the filesystem can, else a copy
    Auto,
    /// A reflink, which shares the file's blocks, or an error
    Reflink,
    /// A hard link, or an error; who may write the source can then change the store, and the blob has the source's mode
    Hardlink,
    /// A copy
    Copy,
}

impl From<How> for LinkMode {
    fn from(how: How) -> Self {
        match how {
            How::Auto => Self::Auto,
            How::Reflink => Self::Reflink,
            How::Hardlink => Self::Hardlink,
            How::Copy => Self::Copy,
        }
    }
}

impl Import {
    pub(crate) fn link(&self) -> LinkMode {
        if self.moves { LinkMode::Move } else { self.link.into() }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            manifest: self.max_manifest.as_u64(),
            index_json: self.max_index.as_u64(),
            descriptors: self.max_descriptors,
        }
    }
}

/// A parser of places.
pub(crate) fn place() -> impl TypedValueParser<Value = Place> {
    OsStringValueParser::new().try_map(Place::parse)
}

/// A parser of sizes up to `most`.
fn at_most(most: u64) -> impl Fn(&str) -> Result<ByteSize, String> + Clone {
    move |text| match text.parse::<ByteSize>()? {
        size if size.as_u64() > most => Err(format!("more than {}", ByteSize(most))),
        size => Ok(size),
    }
}
