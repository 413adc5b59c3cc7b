use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::FalseyValueParser;
use clap::{Parser, Subcommand, ValueEnum};
use oci_store::{Limits, PlatformSpec, RefName};

/// A local store for OCI images that many processes share safely.
///
/// The store's folder is itself an OCI image layout: skopeo, umoci, crane and others read images from it in
/// place. Any number of commands may run on one store at once, gc included.
#[derive(Debug, Parser)]
#[command(name = "oci-store", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// The store's folder [default: $XDG_DATA_HOME/oci-store, or ~/.local/share/oci-store]
    #[arg(long, global = true, value_name = "DIR", env = "OCI_STORE_PATH")]
    pub(crate) store_path: Option<PathBuf>,
    /// The index of a store that is made; one that is there knows its own
    #[arg(long, global = true, value_name = "lmdb|sqlite")]
    pub(crate) index: Option<String>,
    /// Make an absent store one that the folder's group may use too
    #[arg(long, global = true)]
    pub(crate) shared: bool,
    /// How to print
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Wait for locks no longer than this (30s, 5m); by default without limit
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) lock_timeout: Option<Duration>,
    /// Use a store on a network filesystem, which this machine alone may use then
    #[arg(long, global = true, env = "OCI_STORE_ALLOW_NETWORK_FILESYSTEM", value_parser = FalseyValueParser::new())]
    pub(crate) allow_network_filesystem: bool,
    /// Tell more of what is done; twice: all
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Global {
    pub(crate) fn log_level(&self) -> &'static str {
        match self.verbose {
            0 => "warn",
            1 => "info",
            _ => "debug",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Import images from an image layout, in a folder or in a tar archive
    Import(Import),
    /// Export an image into an image layout, new or existing
    Export(Export),
    /// List refs
    List {
        /// Only those whose names begin so
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Remove refs; blobs go with the next gc
    Rm {
        /// A ref
        #[arg(long = "ref", value_name = "REF")]
        flagged: Vec<String>,
        /// Refs
        #[arg(value_name = "REF", required_unless_present = "flagged")]
        refs: Vec<String>,
    },
    /// Set a ref to what another ref, or a digest, names
    Tag {
        /// A ref, a digest, or the beginning of one
        source: String,
        /// The ref to set
        target: RefName,
        /// Fail if the ref is there already
        #[arg(long)]
        new: bool,
    },
    /// Give a ref another name
    Rename {
        /// The ref
        from: RefName,
        /// Its new name, which is not there yet
        to: RefName,
    },
    /// Keep an image without a name
    Pin {
        /// A ref, a digest, or the beginning of one; none: list the pins
        image: Option<String>,
    },
    /// Take back a pin
    Unpin {
        /// A ref, a digest, or the beginning of one
        image: String,
    },
    /// Remove what no ref and no pin reaches; safe at any moment, beside anything
    Gc {
        /// Look at everything, not only at what has changed since the last gc; this also removes files that nobody has
        /// listed yet, so it is not for the moment at which another tool writes into the store's folder
        #[arg(long)]
        full: bool,
        /// Remove nothing, and say what would be
        #[arg(long)]
        dry_run: bool,
    },
    /// Check that images are complete (exit code 3: something is missing or damaged)
    Check {
        /// Refs; none: all refs and pins
        #[arg(value_name = "REF")]
        refs: Vec<RefName>,
        /// Read every blob and hash it
        #[arg(long)]
        read_data: bool,
        /// Read every blob, and fetch what is missing or damaged from the layouts that --from names
        #[arg(long, requires = "from")]
        repair: bool,
        /// A layout's folder, or a tar archive of it; may be given several times
        #[arg(long, value_name = "DIR|FILE", requires = "repair")]
        from: Vec<PathBuf>,
    },
    /// Show an image: its digest, platform, config and layers
    Inspect {
        /// A ref, a digest, or the beginning of one
        image: String,
        /// Print the manifest's or index's bytes, as they are
        #[arg(long)]
        raw: bool,
    },
    /// Print a blob, verified
    Cat {
        /// A digest, or the beginning of one, or a ref
        blob: String,
    },
    /// Print the whole digest that begins so
    Resolve {
        /// sha256:0c45, sha256-0c45 or 0c45
        prefix: String,
    },
    /// List blobs
    Blobs(Blobs),
    /// Key/value data, which may reference a blob
    #[command(subcommand)]
    Data(DataCommand),
    /// Additional data of blobs
    #[command(subcommand)]
    BlobData(BlobDataCommand),
    /// Build the index anew, from the blobs and index.json
    Reindex,
    /// The store's index
    #[command(subcommand)]
    Index(IndexCommand),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The image's name in the layout, or a digest [default: the only one]
    #[arg(long, value_name = "REF", conflicts_with = "all")]
    pub(crate) sref: Option<String>,
    /// The ref to set in the store [default: the same name]
    #[arg(long, value_name = "REF", conflicts_with = "all")]
    pub(crate) dref: Option<RefName>,
    /// Import all images that have a name
    #[arg(long)]
    pub(crate) all: bool,
    /// Of several entries with one name, that of this platform [default: the last]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<PlatformSpec>,
    /// Leave away what is about the image: signatures, SBOMs
    #[arg(long)]
    pub(crate) no_referrers: bool,
    /// Take an image that lacks blobs; its ref records it
    #[arg(long)]
    pub(crate) allow_incomplete: bool,
    /// The most bytes that a manifest may have; up to 64 MiB
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = at_most(Limits::OWN.manifest))]
    pub(crate) max_manifest: ByteSize,
    /// The most bytes that index.json may have; up to 1 GiB
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = at_most(Limits::OWN.index_json))]
    pub(crate) max_index: ByteSize,
    /// The layout's folder, or a tar archive of it
    #[arg(value_name = "DIR|FILE")]
    pub(crate) source: PathBuf,
}

impl Import {
    pub(crate) fn limits(&self) -> Limits {
        Limits { manifest: self.max_manifest.as_u64(), index_json: self.max_index.as_u64() }
    }
}

/// A parser of sizes up to `most`.
fn at_most(most: u64) -> impl Fn(&str) -> Result<ByteSize, String> + Clone {
    move |text| match text.parse::<ByteSize>()? {
        size if size.as_u64() > most => Err(format!("more than {}", ByteSize(most))),
        size => Ok(size),
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// The ref in the store [default: the only one]
    #[arg(long, value_name = "REF")]
    pub(crate) sref: Option<String>,
    /// The image's name in the layout [default: the same name]
    #[arg(long, value_name = "REF")]
    pub(crate) dref: Option<RefName>,
    /// Leave away what is about the image: signatures, SBOMs
    #[arg(long)]
    pub(crate) no_referrers: bool,
    /// Hash the blobs that the destination has already
    #[arg(long)]
    pub(crate) verify: bool,
    /// Make all durable before returning
    #[arg(long)]
    pub(crate) sync: bool,
    /// The ref, if --sref is not given, and the layout's folder
    #[arg(value_name = "[REF] DIR", required = true, num_args = 1..=2)]
    pub(crate) places: Vec<OsString>,
}

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
    /// Only those behind this digest: the next page
    #[arg(long, value_name = "DIGEST")]
    pub(crate) after: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Set a value; prints its new version
    Set {
        /// The value's type
        kind: String,
        /// The value's key
        key: String,
        /// The value; `-` reads it from stdin
        value: String,
        /// A blob that it references, and with which it goes
        #[arg(long, value_name = "DIGEST")]
        blob: Option<String>,
        /// Only if it has this version now; 0: only if there is none
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
    },
    /// Print a value
    Get {
        /// The value's type
        kind: String,
        /// The value's key
        key: String,
    },
    /// List values of a type, or without one the types
    List {
        /// The type
        kind: Option<String>,
        /// Only those whose keys begin so
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Remove a value
    Rm {
        /// The value's type
        kind: String,
        /// The value's key
        key: String,
        /// Only if it has this version now
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BlobDataCommand {
    /// Set data of a blob
    Set {
        /// A digest, or the beginning of one
        blob: String,
        /// The data's type
        kind: String,
        /// The data; `-` reads it from stdin
        value: String,
    },
    /// Print data of a blob
    Get {
        /// A digest, or the beginning of one
        blob: String,
        /// The data's type
        kind: String,
    },
    /// List the types of a blob's data
    List {
        /// A digest, or the beginning of one
        blob: String,
    },
    /// Remove data of a blob
    Rm {
        /// A digest, or the beginning of one
        blob: String,
        /// The data's type
        kind: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Convert the index to another kind; the one before is kept as a backup
    Convert {
        /// lmdb or sqlite
        #[arg(long)]
        to: String,
    },
    /// Print the index's kind
    Show,
}
