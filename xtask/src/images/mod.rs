//! `cargo xtask images`: OCI image layouts to measure with. Everything but `nginx` is made here, from seeds.

mod contents;
mod large;
mod layer;
mod layout;
mod many;
mod multi;
mod nginx;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::workspace_root;

/// Which images to write, and where.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The folder that gets one OCI image layout per name; layouts that it has already are kept
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// For each N, many-N: N tagged images that share some layers
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "200,1000")]
    counts: Vec<usize>,
    /// For each N also many-N-half, where only every second image is tagged and the rest is garbage
    #[arg(long)]
    half: bool,
    /// Also large: one image with few big layers
    #[arg(long)]
    large: bool,
    /// The number of layers of large
    #[arg(long, value_name = "N", default_value_t = 8, requires = "large")]
    layers: u64,
    /// The MiB in each layer of large, before compression
    #[arg(long, value_name = "MIB", default_value_t = 256, requires = "large")]
    layer_mib: u64,
    /// Also nginx: a Debian system made with mmdebstrap and umoci, as root, from the network
    #[arg(long)]
    nginx: bool,
}

/// Writes `multi`, the `many`, and whatever else is asked for.
pub(crate) fn run(args: &Args) -> Result<()> {
    let dir = args.dir.clone().unwrap_or_else(|| workspace_root().join("target/images"));
    make(&dir, "multi", multi::write)?;
    for &count in &args.counts {
        make(&dir, &format!("many-{count}"), |layout| many::write(layout, count, 1))?;
        if args.half {
            make(&dir, &format!("many-{count}-half"), |layout| many::write(layout, count, 2))?;
        }
    }
    if args.large {
        make(&dir, "large", |layout| large::write(layout, args.layers, args.layer_mib))?;
    }
    if args.nginx {
        make(&dir, "nginx", nginx::write)?;
    }
    Ok(())
}

/// Writes those that measurements need and that are missing: `many` of these sizes, whole and half garbage, and the large
/// one. `nginx` is not made, as it needs root and the network.
pub(crate) fn for_bench(dir: &Path, sizes: &[usize], with_large: bool) -> Result<()> {
    for &size in sizes {
        make(dir, &format!("many-{size}"), |layout| many::write(layout, size, 1))?;
        make(dir, &format!("many-{size}-half"), |layout| many::write(layout, size, 2))?;
    }
    if with_large {
        make(dir, "large", |layout| large::write(layout, 8, 256))?;
    }
    Ok(())
}

/// A layout has its index.json last, so one that has it is complete.
fn make(dir: &Path, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let layout = dir.join(name);
    if layout.join("index.json").exists() {
        println!("{}: kept", layout.display());
        return Ok(());
    }
    let start = Instant::now();
    write(&layout).with_context(|| layout.display().to_string())?;
    println!("{}: written in {:.1} s", layout.display(), start.elapsed().as_secs_f64());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    type Files = BTreeMap<PathBuf, Vec<u8>>;

    fn files(folder: &Path, below: &Path, found: &mut Files) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = below.join(path.file_name().unwrap());
            if path.is_dir() { files(&path, &name, found) } else { drop(found.insert(name, fs::read(&path).unwrap())) }
        }
    }

    fn written(write: impl Fn(&Path) -> Result<()>) -> Files {
        let folder = tempfile::tempdir().unwrap();
        let mut found = Files::new();
        write(folder.path()).unwrap();
        files(folder.path(), Path::new(""), &mut found);
        found
    }

    /// Every descriptor in the document names a blob of that size, and so on down.
    fn walk(value: &serde_json::Value, layout: &Files, reached: &mut BTreeMap<PathBuf, ()>) {
        if let Some(digest) = value.get("digest").and_then(|digest| digest.as_str())
            && let Some(size) = value.get("size")
        {
            let (algorithm, hex) = digest.split_once(':').unwrap();
            let name = Path::new("blobs").join(algorithm).join(hex);
            let bytes = layout.get(&name).unwrap_or_else(|| panic!("{digest} is missing"));
            assert_eq!(size.as_u64(), Some(bytes.len() as u64));
            assert_eq!(layer::digest(bytes), digest);
            if reached.insert(name, ()).is_none()
                && let Ok(inner) = serde_json::from_slice(bytes)
            {
                walk(&inner, layout, reached);
            }
        }
        match value {
            serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, layout, reached)),
            serde_json::Value::Object(items) => items.values().for_each(|item| walk(item, layout, reached)),
            _ => {}
        }
    }

    /// The blobs that nothing in index.json reaches.
    fn unreached(layout: &Files) -> usize {
        let index = serde_json::from_slice(&layout[Path::new("index.json")]).unwrap();
        let mut reached = BTreeMap::new();
        walk(&index, layout, &mut reached);
        layout.keys().filter(|name| name.starts_with("blobs") && !reached.contains_key(*name)).count()
    }

    fn assert_whole_and_the_same_each_time(write: impl Fn(&Path) -> Result<()>) {
        let layout = written(&write);
        assert_eq!(unreached(&layout), 0);
        assert!(layout == written(&write));
    }

    #[test]
    fn images_are_whole_and_the_same_each_time() {
        assert_whole_and_the_same_each_time(multi::write);
        assert_whole_and_the_same_each_time(|to| large::write(to, 2, 1));
        // So many that each shared layer is used.
        assert_whole_and_the_same_each_time(|to| many::write(to, 30, 1));
    }

    #[test]
    fn half_of_the_images_are_garbage() {
        // Each has 5 blobs of its own; the odd ones may also hold the only use of a shared layer.
        assert!(unreached(&written(|to| many::write(to, 30, 2))) >= 15 * 5);
    }
}
