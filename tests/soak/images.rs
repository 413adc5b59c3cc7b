//! Import, export, and reading.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use oci_store::{
    Algorithm, Destination, Digest, Expect, ExportOptions, ImportOptions, Layout, Outgoing, Progress, Selection,
};

use crate::outcome::{End, Failed, Outcome};
use crate::record::Call;
use crate::refs::{digest_of, name_of};
use crate::thread::Worker;

/// Waits where all is named and nothing is copied yet: there a gc has time.
struct Slow(Duration);

impl Progress for Slow {
    fn expect(&self, _: u64, _: u64) {
        std::thread::sleep(self.0);
    }
}

impl Worker {
    /// Most are not slow.
    fn pace(&mut self) -> Slow {
        Slow(Duration::from_micros(if self.random.permille(150) { self.random.below(15_000) } else { 0 }))
    }

    pub(crate) fn import(&mut self) -> Result<(), Failed> {
        let (source, image, digest) = self.image()?;
        let name = self.name();
        let outside = self.outside();
        self.call("import", Call::new("set", format!("ref:{name}"), &digest), |worker| {
            if outside {
                let source = source.to_string_lossy();
                worker.program(&["import", "--sref", &image, "--dref", &name, &source])?;
                return Ok(digest.clone());
            }
            let layout = Layout::open(&source)?;
            let one = Selection::One { source: Some(&image), name: Some(&name_of(&name)?) };
            let pace = worker.pace();
            let imported = worker.store.import(&layout, &one, &ImportOptions::default(), &pace)?;
            match &imported[..] {
                [one] if !one.incomplete => Ok(one.target.digest.to_string()),
                other => Err(End::Bad(format!("imported {other:?}"))),
            }
        })
    }

    /// A whole source, each image under its own name.
    pub(crate) fn import_all(&mut self) -> Result<(), Failed> {
        let (source, ..) = self.image()?;
        let of_source = self.images.iter().filter(|image| image.source == source);
        let calls: Vec<Call> =
            of_source.map(|image| Call::new("set", format!("ref:{}", image.name), &image.digest)).collect();
        let outside = self.outside();
        self.calls("import --all", &calls, |worker| {
            let mut run = || -> Outcome {
                if outside {
                    return worker.program(&["import", "--all", &source.to_string_lossy()]).map(drop);
                }
                let layout = Layout::open(&source)?;
                worker.store.import(&layout, &Selection::All, &ImportOptions::default(), &())?;
                Ok(())
            };
            let end = run();
            let word = |call: &Call| end.is_ok().then(|| format!("ok {}", call.value));
            (calls.iter().map(word).collect(), end)
        })
    }

    /// Into a folder of its own, which is handed over to be examined when it is whole.
    pub(crate) fn export(&mut self) -> Result<(), Failed> {
        self.counted += 1;
        let folder = self.job.folder.join(format!("exports/{}-{}", self.label, self.counted));
        let name = self.name();
        self.export_to("export", &name, &folder, &name)?;
        if folder.join("index.json").exists() {
            fs::rename(&folder, self.job.folder.join(format!("exported/{}-{}", self.label, self.counted)))?;
        } else if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        Ok(())
    }

    /// Into a folder that others export into at the same time, each under its own names.
    pub(crate) fn export_together(&mut self) -> Result<(), Failed> {
        self.counted += 1;
        let folder = self.job.folder.join(format!("together/{}", self.random.below(2)));
        let (name, as_name) = (self.name(), format!("x{}-{}", self.label, self.counted % 8));
        self.export_to("export together", &name, &folder, &as_name)
    }

    fn export_to(&mut self, kind: &str, name: &str, to: &Path, as_name: &str) -> Result<(), Failed> {
        let folder = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let outside = self.outside();
        let calls = [
            Call::new("get", format!("ref:{name}"), "-"),
            Call::new("set", format!("exported:{folder}:{as_name}"), "?"),
        ];
        self.calls(kind, &calls, |worker| {
            let mut run = || -> Outcome<String> {
                if outside {
                    let to = to.to_string_lossy();
                    return digest_of(&worker.program(&["--format", "json", "export", "--dref", as_name, name, &to])?);
                }
                let options = ExportOptions::default();
                let pace = worker.pace();
                let image = [Outgoing { image: name.to_owned(), name: name_of(as_name)? }];
                let exported = worker.store.export(&image, Destination::Folder(to), &options, &pace)?;
                Ok(exported.images.first().map(|(_, target)| target.digest.to_string()).unwrap_or_default())
            };
            let done = run();
            let answer = crate::thread::answer(&done);
            (vec![answer.clone(), answer], done.map(drop))
        })
    }

    /// A blob that only a lease keeps, until it is pinned.
    pub(crate) fn write(&mut self) -> Result<(), Failed> {
        self.counted += 1;
        let text = format!("{}-{} of {}", self.label, self.counted, self.job.seed);
        let pause = self.pace().0;
        let mut held = None;
        self.plain("write", |worker| {
            let base = worker.store.base();
            let lease = base.lease("soak")?;
            let blob = lease.write(Expect::any(Algorithm::Sha256), "text/plain", &mut text.as_bytes())?;
            std::thread::sleep(pause);
            let mut read = String::new();
            base.read_blob_verified(&blob.digest)
                .map_err(|error| End::Bad(error.to_string()))?
                .read_to_string(&mut read)?;
            held = Some((lease, blob.digest));
            if read == text { Ok(()) } else { Err(End::Bad(format!("{read:?} was {text:?}"))) }
        })?;
        let Some((lease, digest)) = held else { return Ok(()) };
        self.call("pin of what is leased", Call::new("new", format!("pin:{digest}"), "pin"), |worker| {
            match worker.store.pin(&digest.to_string()) {
                Ok((_, true)) => Ok("pin".to_owned()),
                other => Err(End::Bad(format!("{digest}, which is leased: {other:?}"))),
            }
        })?;
        drop(lease);
        self.call("unpin", Call::new("del", format!("pin:{digest}"), "-"), |worker| {
            match worker.store.unpin(&digest.to_string())? {
                (_, true) => Ok("pin".to_owned()),
                (_, false) => Err(End::Absent),
            }
        })
    }

    /// The manifest of an image, with its bytes verified, and then those of a layer.
    pub(crate) fn cat(&mut self) -> Result<(), Failed> {
        let (.., digest) = self.image()?;
        let outside = self.outside();
        self.plain("cat", |worker| {
            let manifest = worker.read(&digest, outside)?;
            let manifest: serde_json::Value =
                serde_json::from_slice(&manifest).map_err(|error| End::Bad(format!("{digest}: {error}")))?;
            let layer = manifest["layers"].as_array().and_then(|layers| layers.first()).map(|l| &l["digest"]);
            let layer =
                layer.and_then(|digest| digest.as_str()).ok_or_else(|| End::Bad(format!("{digest}: layers")))?;
            worker.read(layer, false).map(drop)
        })
    }

    fn read(&mut self, digest: &str, outside: bool) -> Outcome<Vec<u8>> {
        if outside {
            return self.program(&["cat", digest]);
        }
        let digest: Digest = digest.parse::<Digest>()?;
        let mut bytes = Vec::new();
        self.store.base().read_blob_verified(&digest)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A digest by its beginning; there may be several.
    pub(crate) fn resolve(&mut self) -> Result<(), Failed> {
        let (.., digest) = self.image()?;
        let length = "sha256:".len() + usize::try_from(2 + self.random.below(12))?;
        let prefix: String = digest.chars().take(length).collect();
        let outside = self.outside();
        self.plain("resolve", |worker| {
            let found = if outside {
                digest_of(&worker.program(&["--format", "json", "resolve", &prefix])?)?
            } else {
                worker.store.base().view(|view| view.resolve(&prefix))?.to_string()
            };
            if found.starts_with(&prefix) { Ok(()) } else { Err(End::Bad(format!("{prefix} is {found}"))) }
        })
    }
}
