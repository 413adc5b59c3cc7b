//! Questions about a store, answered by its index, and where that does not know, by manifests and configs. None reads a
//! layer, and none changes anything.

mod about;
mod config;
mod diff;
mod find;
mod graph;
mod stats;
mod tree;
mod usage;
mod why;

pub use about::referrers;
pub use diff::{Diff, FieldDiff, LayerDiff, ManifestDiff, Side};
pub use find::{FoundRef, FoundRefs, Query};
pub use stats::Stats;
pub use tree::{Node, Part};
pub use usage::{Amount, ImageUsage, Share, SharedBlob, Usage};
pub use why::{Holder, Kept, Path};
