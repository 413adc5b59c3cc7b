//! What the command line takes.

mod blobs;
mod care;
mod data;
mod export;
mod help;
mod image;
mod questions;

pub(crate) use blobs::Blobs;
pub(crate) use care::{Check, Prune};
pub(crate) use data::{BlobDataCommand, DataCommand};
pub(crate) use export::Export;
pub(crate) use help::{EXIT_CODES, with_help};
pub(crate) use image::Import;
pub(crate) use questions::{Differ, Du, Find, LeaseCommand, Log, Referrers, Tree, Undo, Why};

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::ArgValueCompleter;
use oci_store::RefName;

use crate::complete;

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
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The store's folder [default: $OCI_STORE_PATH, or $XDG_DATA_HOME/oci-store, or ~/.local/share/oci-store]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) store_path: Option<PathBuf>,
    /// The index of a new store; an existing one records its own
    #[arg(long, global = true, value_name = "lmdb|sqlite", value_parser = INDEXES, hide_possible_values = true)]
    pub(crate) index: Option<String>,
    /// Let the folder's group use the store, if this creates it
    #[arg(long, global = true)]
    pub(crate) shared: bool,
    /// Output format
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// Wait for locks no longer than this (30s, 5m); by default without limit
    #[arg(long, global = true, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) lock_timeout: Option<Duration>,
    /// Use a store on a network filesystem, which this machine alone may use then
    #[arg(long, global = true, env = "OCI_STORE_ALLOW_NETWORK_FILESYSTEM", value_parser = FalseyValueParser::new())]
    pub(crate) allow_network_filesystem: bool,
    /// Print only names (refs or digests), one per line; no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Tell more of what is done; twice: all
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The kinds that there are; of a build some may be left out.
const INDEXES: [&str; 2] = ["lmdb", "sqlite"];

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
    /// For programs: one document
    Json,
    /// For programs: each of several on a line of its own
    Jsonl,
}

// What a command takes is put together when it is that command's turn.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Import images from image layouts, tar archives and pipes
    Import(Import),
    /// Export images into an image layout, new or existing, or into an archive of one
    Export(Export),
    /// Print what the store has, as JSON, for the --exclude of an export elsewhere
    Inventory,
    /// List refs
    #[command(visible_alias = "ls", alias = "images")]
    List {
        /// Only those whose names begin so
        #[arg(default_value = "", add = ArgValueCompleter::new(complete::refs))]
        prefix: String,
    },
    /// Remove refs; blobs go with the next gc
    #[command(aliases = ["rmi", "remove", "delete", "untag"])]
    Rm {
        /// A ref
        #[arg(long = "ref", value_name = "REF", add = ArgValueCompleter::new(complete::refs))]
        flagged: Vec<String>,
        /// Refs
        #[arg(value_name = "REF", required_unless_present = "flagged", add = ArgValueCompleter::new(complete::refs))]
        refs: Vec<String>,
    },
    /// Set a ref to what another ref, or a digest, names
    Tag {
        /// A ref, a digest, or the beginning of one
        #[arg(add = ArgValueCompleter::new(complete::images))]
        source: String,
        /// The ref to set
        #[arg(add = ArgValueCompleter::new(complete::refs))]
        target: RefName,
        /// Fail if the ref is there already
        #[arg(long)]
        new: bool,
    },
    /// Give a ref another name
    #[command(alias = "mv")]
    Rename {
        /// The ref
        #[arg(add = ArgValueCompleter::new(complete::refs))]
        from: RefName,
        /// Its new name, which is not there yet
        to: RefName,
    },
    /// Show what changed which ref, the last change first
    Log(Log),
    /// Undo the last change of a ref, or all that the last command changed, as long as the blobs are there
    Undo(Undo),
    /// Keep an image without a name
    Pin {
        /// A ref, a digest, or the beginning of one; none: list the pins
        #[arg(add = ArgValueCompleter::new(complete::images))]
        image: Option<String>,
    },
    /// Remove a pin
    Unpin {
        /// A ref, a digest, or the beginning of one
        #[arg(add = ArgValueCompleter::new(complete::images))]
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
    #[command(aliases = ["fsck", "verify"])]
    Check(Check),
    /// Remove refs by a policy, then collect; what --keep-last, --older-than and --filter all say goes
    Prune(Prune),
    /// Collect, and verify what was verified longest ago, in a short time: for a timer (exit code 3 as check)
    Maintain {
        /// How long to read
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
        budget: Duration,
    },
    /// Show an image: its digest, platform, config and layers
    Inspect {
        /// A ref, a digest, or the beginning of one
        #[arg(add = ArgValueCompleter::new(complete::images))]
        image: String,
        /// Print the manifest's or index's bytes, as they are
        #[arg(long)]
        raw: bool,
    },
    /// Print a blob, verified
    Cat {
        /// A digest, or the beginning of one, or a ref
        #[arg(add = ArgValueCompleter::new(complete::images))]
        blob: String,
    },
    /// Print the whole digest that begins so
    Resolve {
        /// sha256:0c45, sha256-0c45 or 0c45
        #[arg(add = ArgValueCompleter::new(complete::digests))]
        prefix: String,
    },
    /// List blobs
    Blobs(Blobs),
    /// Show an image as a tree: what it consists of, and what is about it
    Tree(Tree),
    /// List an image's referrers: signatures, SBOMs, whatever names it as its subject
    Referrers(Referrers),
    /// Show in what two images differ: blobs, layers, configs
    Diff(Differ),
    /// Find refs by properties of their images
    Find(Find),
    /// Show what keeps a blob: every path to it from a ref, a pin or a lease (exit code 6: nothing does)
    Why(Why),
    /// Show how much images take, and what removing them would free
    Du(Du),
    /// Show the store in numbers
    Stats,
    /// Leases: what running commands keep
    #[command(subcommand)]
    Lease(LeaseCommand),
    /// Key/value data, which may reference a blob
    #[command(subcommand)]
    Data(DataCommand),
    /// Additional data of blobs
    #[command(subcommand)]
    BlobData(BlobDataCommand),
    /// Make a store of an image layout's folder, in place: no blob is copied
    Adopt {
        /// Hash all blobs first; else manifests alone are read, and of all else the size is looked at
        #[arg(long)]
        verify: bool,
        /// The layout's folder, which is the store from then on
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
    /// Build the index anew, from the blobs and index.json
    Reindex,
    /// The store's index
    #[command(subcommand)]
    Index(IndexCommand),
    /// Print a script that lets a shell complete commands, refs and digests
    #[command(alias = "completions")]
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Write the manual's pages, one a command
    Man {
        /// The folder for them, which is made if it is absent
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
    /// Print the versions of the program, of its output and of the store's format
    Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Fish,
    Zsh,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    /// Convert the index to another kind; the one before is kept as a backup
    Convert {
        /// The kind
        #[arg(long, value_name = "lmdb|sqlite", value_parser = INDEXES, hide_possible_values = true)]
        to: String,
    },
    /// Print the index's kind
    Show,
}
