//! In an async program: the store blocks, on disks and locks, so that its calls belong on threads that may. Clones of a store
//! share everything, and go where the calls go; what lasts is cancelled by a token.
//!
//! `cargo run -p oci-store --example in_async -- /tmp/store tests/images/hello`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oci_store::{ImportOptions, Layout, Selection, Store};
use tokio::task::spawn_blocking;

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(run())
}

async fn run() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "/tmp/oci-store-example".to_owned());
    let source = arguments.next().unwrap_or_else(|| "tests/images/hello".to_owned());

    let store: Store = spawn_blocking(|| oci_store::open(path)).await??;
    let cancelled = Arc::new(AtomicBool::new(false));
    let import = {
        let (store, cancelled) = (store.clone(), Arc::clone(&cancelled));
        spawn_blocking(move || {
            store.import(&Layout::open(source)?, &Selection::All, &ImportOptions::default(), &*cancelled)
        })
    };
    // A future that is dropped would leave the thread to its work: what is given up is told so, and waited for.
    tokio::pin!(import);
    let imported = tokio::select! {
        done = &mut import => done?,
        () = tokio::time::sleep(Duration::from_secs(60)) => {
            cancelled.store(true, Ordering::Relaxed);
            import.await?
        }
    };
    for image in imported? {
        println!("{} {}", image.name, image.target.digest);
    }
    let refs = spawn_blocking(move || store.refs("", None, 100)).await??;
    println!("{} refs", refs.len());
    Ok(())
}
