//! Questions about a store, answered by its index, and where that does not know, by manifests and configs. None reads a
//! layer, and none changes anything.

mod graph;
mod stats;
mod usage;
mod why;

pub use stats::Stats;
pub use usage::{Amount, ImageUsage, Share, SharedBlob, Usage};
pub use why::{Holder, Kept, Path};
