//! Of `data` and `blob-data`.

use clap::Subcommand;
use clap_complete::ArgValueCompleter;

use crate::complete;

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
        #[arg(long, value_name = "DIGEST", add = ArgValueCompleter::new(complete::images))]
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
        #[arg(add = ArgValueCompleter::new(complete::images))]
        blob: String,
        /// The data's type
        kind: String,
        /// The data; `-` reads it from stdin
        value: String,
    },
    /// Print data of a blob
    Get {
        /// A digest, or the beginning of one
        #[arg(add = ArgValueCompleter::new(complete::images))]
        blob: String,
        /// The data's type
        kind: String,
    },
    /// List the types of a blob's data
    List {
        /// A digest, or the beginning of one
        #[arg(add = ArgValueCompleter::new(complete::images))]
        blob: String,
    },
    /// Remove data of a blob
    Rm {
        /// A digest, or the beginning of one
        #[arg(add = ArgValueCompleter::new(complete::images))]
        blob: String,
        /// The data's type
        kind: String,
    },
}
