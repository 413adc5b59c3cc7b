//! Of the commands that answer questions.

use clap::Subcommand;
use clap_complete::ArgValueCompleter;
use oci_store::RefName;

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
pub(crate) struct Du {
    /// Refs; none: all
    #[arg(value_name = "REF", add = ArgValueCompleter::new(complete::refs))]
    pub(crate) refs: Vec<RefName>,
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
