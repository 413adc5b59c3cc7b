//! Doors for the fuzzer, there in its builds alone (`--cfg fuzzing`).

use std::path::Path;

use crate::config::Config;
use crate::{OWN_FOLDER, Result};

/// Reads a store's config; returns it as it would be written, and the name of the index's folder.
pub fn config(bytes: &[u8]) -> Result<(Vec<u8>, String)> {
    let path = Path::new("store").join(OWN_FOLDER).join("config.json");
    let config = Config::parse(&path, bytes)?;
    Ok((config.print(&path)?, config.epoch.to_string()))
}
