//! Key/value data, and additional data of blobs.

use oci_store::{Condition, Digest, Space, base};

use crate::outcome::{End, Failed, Outcome};
use crate::record::Call;
use crate::thread::Worker;

/// Counters that all who are at work count with.
const COUNTERS: u64 = 4;

impl Worker {
    fn key(&mut self) -> String {
        format!("k{}-{}", self.era(), self.random.below(4))
    }

    pub(crate) fn set_data(&mut self) -> Result<(), Failed> {
        let key = self.key();
        self.counted += 1;
        let value = format!("v{}-{}", self.label, self.counted);
        let outside = self.outside();
        self.call("data set", Call::new("set", format!("data:{key}"), &value), |worker| {
            if outside {
                worker.program(&["data", "set", "soak", &key, &value])?;
            } else {
                let set = |txn: &mut base::Txn<'_>| {
                    txn.set_data(Space::User, "soak", &key, value.as_bytes(), None, Condition::Any)
                };
                worker.store.base().update(set)?;
            }
            Ok(value.clone())
        })
    }

    pub(crate) fn get_data(&mut self) -> Result<(), Failed> {
        let key = self.key();
        let outside = self.outside();
        self.call("data get", Call::new("get", format!("data:{key}"), "-"), |worker| {
            let value = if outside {
                worker.program(&["data", "get", "soak", &key])?
            } else {
                let found = worker.store.base().view(|view| view.data(Space::User, "soak", &key))?;
                found.ok_or(End::Absent)?.value
            };
            Ok(String::from_utf8_lossy(&value).into_owned())
        })
    }

    pub(crate) fn remove_data(&mut self) -> Result<(), Failed> {
        let key = self.key();
        let outside = self.outside();
        self.call("data rm", Call::new("del", format!("data:{key}"), "-"), |worker| {
            if outside {
                return worker.program(&["data", "rm", "soak", &key]).map(|_| "?".to_owned());
            }
            let remove = |txn: &mut base::Txn<'_>| txn.delete_data(Space::User, "soak", &key, Condition::Any);
            let old = worker.store.base().update(remove)?.ok_or(End::Absent)?;
            Ok(String::from_utf8_lossy(&old.value).into_owned())
        })
    }

    /// Compare and swap: reads a counter, then sets the next number if nobody else has.
    pub(crate) fn count(&mut self) -> Result<(), Failed> {
        let key = format!("c{}", self.random.below(COUNTERS));
        let old = self.store.base().view(|view| view.data(Space::User, "count", &key))?;
        let text = old.as_ref().map_or("0".into(), |old| String::from_utf8_lossy(&old.value).into_owned());
        let next = (text.parse::<u64>()? + 1).to_string();
        let version = old.map(|old| old.version);
        let outside = self.outside();
        self.call("data set --if-version", Call::new("cas", format!("count:{key}"), &next), |worker| {
            if outside {
                let version = version.unwrap_or(0).to_string();
                worker.program(&["data", "set", "count", &key, &next, "--if-version", &version])?;
            } else {
                let condition = version.map_or(Condition::Absent, Condition::Version);
                let set = |txn: &mut base::Txn<'_>| {
                    txn.set_data(Space::User, "count", &key, next.as_bytes(), None, condition)
                };
                worker.store.base().update(set)?;
            }
            Ok(next.clone())
        })
    }

    /// Set, get and remove; the blob may go at any moment.
    pub(crate) fn blob_data(&mut self) -> Result<(), Failed> {
        let (.., digest) = self.image()?;
        let what = self.random.below(3);
        let outside = self.outside();
        self.plain("blob-data", |worker| {
            if outside {
                let args: &[&str] = match what {
                    0 => &["blob-data", "set", &digest, "soak", "value"],
                    1 => &["blob-data", "get", &digest, "soak"],
                    _ => &["blob-data", "rm", &digest, "soak"],
                };
                let printed = worker.program(args)?;
                let is_right = what != 1 || printed == b"value";
                return if is_right { Ok(()) } else { Err(End::Bad(format!("blob data of {digest}: {printed:?}"))) };
            }
            let blob: Digest = digest.parse()?;
            let base = worker.store.base();
            match what {
                0 => Ok(base.update(|txn| txn.set_blob_data(&blob, "soak", b"value"))?),
                1 => match base.view(|view| view.blob_data(&blob, "soak"))?.as_deref() {
                    None | Some(b"value") => Ok(()),
                    Some(other) => Err(End::Bad(format!("blob data of {digest}: {other:?}"))),
                },
                _ => Ok(base.update(|txn| txn.delete_blob_data(&blob, "soak")).map(drop)?),
            }
        })
    }

    /// Data that goes with a blob: it is there only while the blob is.
    pub(crate) fn data_of_blob(&mut self) -> Result<(), Failed> {
        let (.., digest) = self.image()?;
        let outside = self.outside();
        self.plain("data set --blob", |worker| {
            if outside {
                return worker.program(&["data", "set", "note", &digest, "x", "--blob", &digest]).map(drop);
            }
            let blob: Digest = digest.parse()?;
            let base = worker.store.base();
            let set =
                |txn: &mut base::Txn<'_>| txn.set_data(Space::User, "note", &digest, b"x", Some(&blob), Condition::Any);
            base.update(set)?;
            let look = |view: base::View<'_>| -> Outcome<bool> {
                Ok(view.data(Space::User, "note", &digest)?.is_none() || view.blob(&blob)?.is_some())
            };
            if base.view(look)? { Ok(()) } else { Err(End::Bad(format!("data outlives its blob {digest}"))) }
        })
    }
}
