//! Collects garbage beside a thread that never stops importing: no lock-out, no grace period.
//!
//! `cargo run -p oci-store --example gc -- /tmp/store tests/images/hello`

use std::sync::atomic::{AtomicBool, Ordering};

use oci_store::{Extent, ImportOptions, Layout, RefName, Selection};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or_else(|| "/tmp/oci-store-example-gc".to_owned());
    let layout = args.next().unwrap_or_else(|| "tests/images/hello".to_owned());

    let store = oci_store::open(path)?;
    let name: RefName = "busy".parse()?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let importer = scope.spawn(|| {
            let source = Layout::open(&layout)?;
            let one = Selection::One { source: Some("latest"), name: Some(&name) };
            for _ in 0..20 {
                store.import(&source, &one, &ImportOptions::default(), &())?;
                store.remove_ref(&name)?;
            }
            done.store(true, Ordering::Relaxed);
            Ok::<_, oci_store::Error>(())
        });
        let mut taken = 0;
        while !done.load(Ordering::Relaxed) && !importer.is_finished() {
            taken += store.gc(Extent::Changed, false)?.blobs;
        }
        taken += store.gc(Extent::Changed, false)?.blobs;
        println!("took {taken} blobs beside 20 imports");
        importer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(())
}
