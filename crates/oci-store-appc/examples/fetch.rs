//! Fetching images through the cache: `cargo run -p oci-store-appc --example fetch`.
//!
//! The server is a made-up one. It answers as HTTP does: with an image, its entity tag and how long it may be
//! used; or, asked with the tag of the image that it has, that it was not modified.

use std::error::Error;
use std::sync::Arc;

use oci_store_appc::{Caching, Remote, Store, key};
use oci_store_index_sqlite::SqliteBackend;

struct Server {
    etag: &'static str,
    image: &'static [u8],
}

enum Answer {
    NotModified,
    Image(&'static [u8]),
}

impl Server {
    fn get(&self, if_none_match: Option<&str>) -> Answer {
        if if_none_match == Some(self.etag) { Answer::NotModified } else { Answer::Image(self.image) }
    }
}

/// The image of `url`: from the cache while it is fresh, else as the server says.
fn fetch(store: &Store, server: &Server, url: &str, now: u64) -> Result<Remote, Box<dyn Error>> {
    let known = store.remote(url)?;
    if let Some(known) = known.clone().filter(|known| known.is_fresh(now)) {
        println!("{now:>4}: fresh");
        return Ok(known);
    }
    let caching = Caching { etag: Some(server.etag.to_owned()), max_age: 60, fetched: now };
    let etag = known.as_ref().and_then(|known| known.caching.etag.as_deref());
    Ok(match (server.get(etag), &known) {
        (Answer::NotModified, Some(known)) => {
            println!("{now:>4}: not modified");
            store.refresh(known, &caching)?
        }
        (Answer::NotModified, None) => return Err("not modified, but never asked for before".into()),
        (Answer::Image(mut bytes), _) => {
            println!("{now:>4}: fetched, {} bytes", bytes.len());
            store.fetch(url, &caching, &mut bytes)?
        }
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = Store::open(folder.path().join("store"), vec![Arc::new(SqliteBackend)])?;
    let url = "https://example.com/app-1.0-linux-amd64.aci";

    let server = Server { etag: "\"one\"", image: b"the first image" };
    let first = fetch(&store, &server, url, 1000)?;
    fetch(&store, &server, url, 1030)?;
    fetch(&store, &server, url, 1100)?;
    println!("      {}", key(&first.image));

    let server = Server { etag: "\"two\"", image: b"the second image" };
    let second = fetch(&store, &server, url, 1200)?;
    println!("      {}", key(&second.image));
    println!("gc:   {} image(s) removed", store.gc()?.blobs);
    assert!(store.resolve(&key(&first.image)).is_err());
    assert_eq!(store.resolve(&key(&second.image)[..16])?, second.image);
    Ok(())
}
