//! Two imports of the same at the same time: what one is copying, the other does not copy as well.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;

use oci_store_cas::Digest;
use oci_store_oci::{Content, Descriptor, Entry, Error, ImageSource, Result};

use crate::common::{assert_sound, benches, import};
use crate::images::Images;

/// What happens when a layer is fetched.
#[derive(Debug)]
enum Fetch {
    /// It says so, and goes on when it is let.
    Wait(Barrier, Barrier),
    /// The same, and then it fails.
    Fail(Barrier, Barrier),
    /// It goes on.
    Go,
}

#[derive(Debug)]
struct Watched {
    images: Images,
    layer: Digest,
    fetch: Fetch,
    layers: AtomicUsize,
    /// Told of everything that is fetched after the layer was left to another.
    others: Option<mpsc::SyncSender<()>>,
}

impl ImageSource for Watched {
    fn origin(&self) -> String {
        "watched".to_owned()
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        self.images.entries()
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Option<Box<dyn Content + '_>>> {
        if descriptor.digest != self.layer {
            if let Some(others) = &self.others {
                let _ = others.try_send(());
            }
            return self.images.fetch(descriptor);
        }
        self.layers.fetch_add(1, Ordering::SeqCst);
        if let Fetch::Wait(began, go) | Fetch::Fail(began, go) = &self.fetch {
            began.wait();
            go.wait();
        }
        match self.fetch {
            Fetch::Fail(..) => Err(Error::Base(oci_store_base::Error::io("watched")(io::Error::other("it broke")))),
            _ => self.images.fetch(descriptor),
        }
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.images.referrers(subject)
    }
}

/// One image with a layer that is large enough, and smaller blobs, which come after it.
fn source(fetch: Fetch, others: Option<mpsc::SyncSender<()>>) -> Watched {
    let mut images = Images::default();
    let layer = images.layer(&"large".repeat(1 << 19));
    let image = images.manifest("shared", std::slice::from_ref(&layer));
    images.name("v1", &image);
    Watched { images, layer: layer.digest, fetch, layers: AtomicUsize::new(0), others }
}

fn barriers() -> (Barrier, Barrier) {
    (Barrier::new(2), Barrier::new(2))
}

#[test]
fn what_another_is_copying_is_not_copied_again() {
    for bench in benches() {
        let (began, go) = barriers();
        let (told, others) = mpsc::sync_channel(16);
        let (first, second) = (source(Fetch::Wait(began, go), None), source(Fetch::Go, Some(told)));
        // Opened twice, as by two processes.
        let (store, again) = (bench.open(), bench.open());
        thread::scope(|scope| {
            let one = scope.spawn(|| import(&store, &first, "v1").unwrap());
            let Fetch::Wait(began, go) = &first.fetch else { unreachable!() };
            began.wait();
            let other = scope.spawn(|| import(&again, &second, "v1").unwrap());
            // The manifest, and then the config, which is smaller than the layer.
            others.recv().unwrap();
            others.recv().unwrap();
            go.wait();
            assert_eq!(one.join().unwrap(), other.join().unwrap());
        });
        assert_eq!((first.layers.into_inner(), second.layers.into_inner()), (1, 0), "{}", bench.backend);
        assert_sound(&store);
    }
}

#[test]
fn what_another_could_not_copy_is_copied() {
    for bench in benches() {
        let (began, go) = barriers();
        let (told, others) = mpsc::sync_channel(16);
        let (first, second) = (source(Fetch::Fail(began, go), None), source(Fetch::Go, Some(told)));
        let (store, again) = (bench.open(), bench.open());
        thread::scope(|scope| {
            let one = scope.spawn(|| import(&store, &first, "v1").unwrap_err().to_string());
            let Fetch::Fail(began, go) = &first.fetch else { unreachable!() };
            began.wait();
            let other = scope.spawn(|| import(&again, &second, "v1").unwrap());
            others.recv().unwrap();
            others.recv().unwrap();
            go.wait();
            assert!(one.join().unwrap().contains("it broke"));
            other.join().unwrap();
        });
        assert_eq!(second.layers.into_inner(), 1, "{}", bench.backend);
        assert_sound(&store);
    }
}

#[test]
fn who_does_not_come_on_is_not_waited_for_for_ever() {
    for bench in benches() {
        let (began, go) = barriers();
        let (first, second) = (source(Fetch::Wait(began, go), None), source(Fetch::Go, None));
        let (store, again) = (bench.open(), bench.open());
        thread::scope(|scope| {
            let one = scope.spawn(|| import(&store, &first, "v1").unwrap());
            let Fetch::Wait(began, go) = &first.fetch else { unreachable!() };
            began.wait();
            import(&again, &second, "v1").unwrap();
            go.wait();
            one.join().unwrap();
        });
        assert_eq!((first.layers.into_inner(), second.layers.into_inner()), (1, 1), "{}", bench.backend);
        assert_sound(&store);
    }
}
