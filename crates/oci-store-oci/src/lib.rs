//! A store of OCI images over `oci-store-base`, whose folder is itself an OCI image layout.
//!
//! - [`Store`]: refs, [import](Store::import), [export](Store::export), [garbage collection](Store::gc),
//!   [completeness check](Store::check).
//! - [`ImageSource`]: where images come from: a [`Layout`] folder, an [`Archive`] of one, another store, what a program brings.
//! - [`children`]: what a manifest or an index points at; the one function that sees it.

mod adopt;
mod archive;
pub mod check;
mod closure;
mod copying;
mod descriptor;
mod destination;
mod docker;
pub mod document;
mod entries;
mod error;
mod export;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gc;
mod history;
mod ids;
mod import;
mod import_options;
mod index_json;
mod intake;
mod into_archive;
mod into_folder;
mod inventory;
mod json;
mod layout;
mod limits;
mod maintain;
pub mod media_type;
mod members;
mod merge;
mod moving;
mod note;
mod place;
mod platform;
mod progress;
mod projection;
pub mod questions;
mod read_only;
mod reading;
mod ref_name;
mod referrers;
mod refs;
mod reindex;
mod removal;
mod repair;
mod seen;
mod shown;
pub mod source;
mod store;
mod temporary;

pub use adopt::Adopted;
pub use archive::{Archive, Stream};
pub use check::{Checked, Fault, Problem};
pub use closure::Missing;
pub use descriptor::{Descriptor, REF_NAME};
pub use destination::{Compression, Destination, ExportOptions, Exported, Form, Outgoing, Packing};
pub use document::{Child, Role, children};
pub use error::{Error, Result};
pub use history::{Change, Operation, Undone};
pub use import::{Imported, Selection};
pub use import_options::ImportOptions;
pub use inventory::{Inventory, InventoryBlob, InventoryRef};
pub use layout::Layout;
pub use maintain::Maintained;
pub use oci_spec;
pub use oci_store_base::{Collected, Condition, Extent, LinkMode};
pub use place::{Place, Transport};
pub use progress::Progress;
pub use reading::Reading;
pub use ref_name::RefName;
pub use refs::{INCOMPLETE, Ref};
pub use reindex::Report;
pub use removal::Policy;
pub use repair::Repaired;
pub use source::{Content, Entry, ImageSource, Limit, Limits, PlatformSpec, Source, pick};
pub use store::{KIND, OpenOptions, Store, StoreSource};

/// The example of the README, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
