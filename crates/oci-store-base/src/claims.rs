//! Claims by locks on the bytes of one file, which is empty: there may be any number of them, and nothing is left of them.

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use oci_store_cas::{Access, Digest};

use crate::locks::{Guard, Nobody};
use crate::share::open_or_create;
use crate::{Error, Result};

/// The claims in one file. As long as there is one, the file is open once for all of them.
#[derive(Debug)]
pub(crate) struct Claims {
    path: PathBuf,
    access: Access,
    open: Mutex<Weak<Open>>,
}

/// The locks are the open file's: others, in this process too, meet them. Who shares it does not, and looks at `places`.
#[derive(Debug)]
struct Open {
    file: File,
    places: Mutex<HashSet<libc::off_t>>,
}

impl Claims {
    pub(crate) fn new(path: PathBuf, access: Access) -> Self {
        Self { path, access, open: Mutex::default() }
    }

    /// Claims the work on a blob, or says by `None` that somebody else is at it.
    pub(crate) fn claim(&self, digest: &Digest) -> Result<Option<Box<dyn Guard>>> {
        let (open, place) = (self.open()?, place_of(digest));
        let mut places = open.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.contains(&place) {
            return Ok(None);
        }
        match set_lock(&open.file, libc::F_WRLCK, place) {
            Ok(()) => places.insert(place),
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(None),
            // No such locks here, or no more of them: then the work may be done twice.
            Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::ENOLCK) => {
                return Ok(Some(Box::new(Nobody)));
            }
            Err(error) => return Err(Error::io(&self.path)(error.into())),
        };
        drop(places);
        Ok(Some(Box::new(Claim { open, place })))
    }

    fn open(&self) -> Result<Arc<Open>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = open.upgrade() {
            return Ok(open);
        }
        let new = Arc::new(Open { file: open_or_create(&self.path, self.access)?, places: Mutex::default() });
        *open = Arc::downgrade(&new);
        Ok(new)
    }
}

#[derive(Debug)]
struct Claim {
    open: Arc<Open>,
    place: libc::off_t,
}

impl Guard for Claim {}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut places = self.open.places.lock().unwrap_or_else(PoisonError::into_inner);
        // Should it fail, the lock ends with the last of the claims.
        let _ = set_lock(&self.open.file, libc::F_UNLCK, self.place);
        places.remove(&self.place);
    }
}

/// Where a blob's byte is: as much of its hash as leaves that positive.
fn place_of(digest: &Digest) -> libc::off_t {
    let bytes = digest.raw().iter().take(size_of::<libc::off_t>() - 1);
    bytes.fold(0, |place, byte| place << 8 | libc::off_t::from(*byte))
}

fn set_lock(file: &File, kind: libc::c_int, place: libc::off_t) -> nix::Result<()> {
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: place,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).map(drop)
}
