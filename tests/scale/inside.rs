//! What calls of the library take on one store, for `cargo xtask scale`: what a process needs to start is not in it.
//!
//! `scale-inside STORE calls DIGESTS` reads digests from a file, one a line, and prints the medians of calls about them.
//! `scale-inside STORE writes` writes in small transactions until its input ends, and prints how long they took. What is printed is
//! JSON; times are in microseconds.

use std::error::Error;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use oci_store::{BlobFilter, Condition, Digest, RefName, Space, Store};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [store, "calls", digests] => {
            let text = std::fs::read_to_string(digests)?;
            let digests = text.lines().map(str::parse).collect::<Result<Vec<Digest>, _>>()?;
            calls(&oci_store::open(store)?, &digests)
        }
        [store, "writes"] => writes(&oci_store::open(store)?),
        _ => Err("STORE calls DIGESTS, or STORE writes".into()),
    }
}

fn calls(store: &Store, digests: &[Digest]) -> Result<()> {
    let base = store.base();
    // Fourteen digits of a prefix are enough among a million.
    let resolve = median(digests, |digest| {
        let prefix: String = digest.to_string().chars().take("sha256:".len() + 14).collect();
        Ok(base.view(|view| view.resolve(&prefix)).map(drop)?)
    })?;
    let blob = median(digests, |digest| Ok(base.view(|view| view.blob(digest)).map(drop)?))?;
    let page = median(digests, |digest| {
        Ok(base.view(|view| view.blobs(&BlobFilter::default(), Some(digest), 100)).map(drop)?)
    })?;
    let refs = median(digests, |_| Ok(store.refs("image-5", None, 100).map(drop)?))?;
    let few = digests.get(..20.min(digests.len())).unwrap_or_default();
    let transaction = median(few, |_| Ok(write(store)?))?;
    let name: RefName = "image-0".parse()?;
    let tag = median(few, |_| Ok(store.tag(name.as_str(), &"tagged".parse()?, Condition::Any).map(drop)?))?;
    store.remove_ref(&"tagged".parse()?)?;
    println!(
        "{{\"resolve\":{resolve},\"blob\":{blob},\"page\":{page},\"refs\":{refs},\"transaction\":{transaction},\"tag\":{tag}}}"
    );
    Ok(())
}

fn median<T>(of: &[T], mut call: impl FnMut(&T) -> Result<()>) -> Result<f64> {
    let mut times = Vec::new();
    for item in of {
        let began = Instant::now();
        call(item)?;
        times.push(began.elapsed());
    }
    times.sort();
    Ok(micros(times.get(times.len() / 2).copied().unwrap_or_default()))
}

fn write(store: &Store) -> oci_store::Result<()> {
    let set =
        |txn: &mut oci_store::base::Txn<'_>| txn.set_data(Space::User, "scale", "key", b"value", None, Condition::Any);
    Ok(store.base().update(set).map(drop)?)
}

fn writes(store: &Store) -> Result<()> {
    let ended = AtomicBool::new(false);
    let mut times = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            ended.store(true, Ordering::Relaxed);
        });
        write(store)?;
        // Whoever waits for this begins.
        println!("ready");
        std::io::stdout().flush()?;
        while !ended.load(Ordering::Relaxed) {
            let began = Instant::now();
            write(store)?;
            times.push(began.elapsed());
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    times.sort();
    let at = |share: f64| {
        micros(times.get((times.len() as f64 * share) as usize).or(times.last()).copied().unwrap_or_default())
    };
    println!("{{\"count\":{},\"median\":{},\"p99\":{},\"longest\":{}}}", times.len(), at(0.5), at(0.99), at(1.0));
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
