use std::path::PathBuf;

use oci_store::{Access, Digest, Error, Layout, Limits, OpenOptions, Store, Wait, base};

use crate::args::{Format, Global};
use crate::failure::{Failure, Result, code};
use crate::output;
use crate::reader::Reader;

/// In which shape a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Table,
    Names,
    Json,
    Lines,
}

/// What every command has to do with.
pub(crate) struct Context {
    global: Global,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        Self { global }
    }

    /// Names alone are for who reads lines; what reads JSON has them there.
    pub(crate) fn shape(&self) -> Shape {
        match self.global.format {
            Format::Table if self.global.quiet => Shape::Names,
            Format::Table => Shape::Table,
            Format::Json => Shape::Json,
            Format::Jsonl => Shape::Lines,
        }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.global.quiet
    }

    /// The store's folder: what is asked for, or where it is by default.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.global.store_path {
            return Ok(path.clone());
        }
        default_path().ok_or_else(|| {
            Failure::new(code::USAGE, "no folder for the store: there is no HOME; name one with --store-path")
        })
    }

    pub(crate) fn options(&self) -> OpenOptions {
        let access = if self.global.shared { Access::Group } else { Access::Private };
        oci_store::options()
            .index(self.global.index.as_deref())
            .access(access)
            .allow_network_filesystem(self.global.allow_network_filesystem)
            .wait(Wait { limit: self.global.lock_timeout })
    }

    /// The store, which is there: to ask makes none.
    pub(crate) fn store(&self) -> Result<Store> {
        Ok(self.options().create(false).open(self.path()?)?)
    }

    /// The store, if there is one.
    pub(crate) fn store_if_any(&self) -> Result<Option<Store>> {
        match self.options().create(false).open(self.path()?) {
            Err(Error::Base(base::Error::NoStore(_))) => Ok(None),
            other => Ok(other.map(Some)?),
        }
    }

    /// The store; one that is absent is made.
    pub(crate) fn store_or_new(&self) -> Result<Store> {
        Ok(self.options().open(self.path()?)?)
    }

    /// For commands that only read: without the right to write the store, or where its locks are not to be relied upon,
    /// its folder does.
    pub(crate) fn reader(&self) -> Result<Reader> {
        Ok(self.reader_at(self.path()?)?)
    }

    /// The same; where there is no store, `None`, and a warning.
    pub(crate) fn reader_if_any(&self) -> Result<Option<Reader>> {
        match self.reader_at(self.path()?) {
            Err(error @ Error::Base(base::Error::NoStore(_))) => {
                tracing::warn!("{error}; `import` makes one");
                Ok(None)
            }
            other => Ok(other.map(Some)?),
        }
    }

    fn reader_at(&self, path: PathBuf) -> oci_store::Result<Reader> {
        match self.options().create(false).open(path) {
            Ok(store) => Ok(Reader::Store(store)),
            Err(Error::Base(base::Error::ReadOnly(path))) => {
                tracing::debug!("{}: read-only: by index.json and blobs/ alone", path.display());
                Ok(Reader::Folder(Layout::open(path)?.with_limits(Limits::OWN)))
            }
            // Where there is a layout, there is something to read.
            Err(Error::Base(base::Error::NetworkFilesystem { path, name })) => match Layout::open(&path) {
                Ok(layout) => Ok(Reader::Folder(layout)),
                Err(_) => Err(base::Error::NetworkFilesystem { path, name }.into()),
            },
            Err(error) => Err(error),
        }
    }

    /// The digest of what `text` names: a digest, or the beginning of one, or a ref.
    pub(crate) fn digest(&self, store: &Store, text: &str) -> Result<Digest> {
        Ok(store.find(text)?.digest)
    }

    /// Prints for people or for programs; or, of each thing with a digest, that alone.
    pub(crate) fn print<T: serde::Serialize>(&self, json: &T, text: impl FnOnce() -> String) -> Result<()> {
        self.print_named("digest", json, text)
    }

    /// The same; `key` is the field that names a thing, where names alone are asked for.
    pub(crate) fn print_named<T: serde::Serialize>(
        &self,
        key: &str,
        json: &T,
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        match self.shape() {
            Shape::Table => output::print(&output::plain(&text())),
            Shape::Names => output::print(&output::plain(&output::names(key, json)?)),
            Shape::Json => output::print_json(json),
            Shape::Lines => output::print_json_lines(json),
        }
    }
}

/// Where a store is if no option says where: where the environment says, or in the XDG data folder.
pub(crate) fn default_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("OCI_STORE_PATH").or_else(|| {
        // A relative one is no path by the XDG specification, and ignored.
        let data = set("XDG_DATA_HOME").filter(|data| data.is_absolute());
        Some(data.or_else(|| Some(set("HOME")?.join(".local/share")))?.join("oci-store"))
    })
}
