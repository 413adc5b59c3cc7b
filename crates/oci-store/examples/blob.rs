//! Writes a blob, reads it back verified, and keeps it with a record of its own.
//!
//! `cargo run -p oci-store --example blob -- /tmp/store`

use std::io::Read;

use oci_store::{Algorithm, Condition, Expect, Extent, Space};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/tmp/oci-store-example".to_owned());
    let store = oci_store::open(path)?;

    // Written under a lease: no gc takes the blob before something keeps it.
    let lease = store.base().lease("example")?;
    let blob = lease.write(Expect::any(Algorithm::Sha256), "text/plain", &mut &b"hello"[..])?;
    store.pin(&blob.digest.to_string())?;
    drop(lease);

    // Data of your own may reference it, and goes when it goes.
    store
        .base()
        .update(|txn| txn.set_data(Space::User, "example", "greeting", b"en", Some(&blob.digest), Condition::Any))?;

    let mut text = String::new();
    store.base().read_blob_verified(&blob.digest)?.read_to_string(&mut text)?;
    println!("{}: {text}", blob.digest);

    store.unpin(&blob.digest.to_string())?;
    println!("gc took {} blobs", store.gc(Extent::Changed, false)?.blobs);
    Ok(())
}
