//! Imports an image from a layout, tells the progress, and lists its layers.
//!
//! `cargo run -p oci-store --example import -- /tmp/store tests/images/hello latest`

use std::sync::atomic::{AtomicU64, Ordering};

use oci_store::oci::{Role, children};
use oci_store::{ImageSource, ImportOptions, Layout, Progress, Selection};

/// Called from several threads.
#[derive(Default)]
struct Counter(AtomicU64);

impl Progress for Counter {
    fn passed(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or_else(|| "/tmp/oci-store-example".to_owned());
    let layout = args.next().unwrap_or_else(|| "tests/images/hello".to_owned());
    let name = args.next().unwrap_or_else(|| "latest".to_owned());

    let store = oci_store::open(path)?;
    let source = Layout::open(layout)?;
    let counter = Counter::default();
    let one = Selection::One { source: Some(&name), name: None };
    for image in store.import(&source, &one, &ImportOptions::default(), &counter)? {
        println!("{} {} ({} new bytes)", image.name, image.target.digest, counter.0.load(Ordering::Relaxed));
        let mut manifest = Vec::new();
        if let Some(mut bytes) = store.as_source().fetch(&image.target)? {
            bytes.read_to_end(&mut manifest)?;
        }
        for child in children(&image.target, &manifest)?.iter().filter(|child| child.role == Role::Layer) {
            println!("  {} {} bytes", child.descriptor.digest, child.descriptor.size);
        }
    }
    Ok(())
}
