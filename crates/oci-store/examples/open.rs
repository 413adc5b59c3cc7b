//! Opens a store over the index of your choice. A store that is there knows its own.
//!
//! `cargo run -p oci-store --example open --features sqlite -- /tmp/store sqlite`

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or_else(|| "/tmp/oci-store-example".to_owned());
    let index = args.next();

    let store = oci_store::options().index(index.as_deref()).open(&path)?;

    let known: Vec<&str> = oci_store::backends().iter().map(|backend| backend.name()).collect();
    println!("{path} has an index of kind {} (this program knows {})", store.base().index_name()?, known.join(", "));
    for found in store.refs("", None, 100)? {
        println!("{} {}", found.name, found.target.digest);
    }
    Ok(())
}
