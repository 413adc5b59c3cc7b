//! The environments that this process has open. LMDB's locks belong to the process, so that a second environment
//! over the same files would break them.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use oci_store_index::{Result, folder};

use crate::environment::{Environment, FileId, Gates, Opened};
use crate::error::{about, at, explained};
use crate::files;
use crate::gate::Gate;

static TABLE: Mutex<Vec<Weak<Environment>>> = Mutex::new(Vec::new());

/// How long transactions over replaced files may take to end.
const CLOSING: Duration = Duration::from_secs(10);

/// Opens the environment in `dir`, or finds it if this process has it open.
pub(crate) fn open(dir: &Path) -> Result<Arc<Environment>> {
    fs::create_dir_all(dir).map_err(at(dir))?;
    let dir = dir.canonicalize().map_err(at(dir))?;
    // Held throughout, so that two threads do not open the same folder.
    let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    table.retain(|environment| environment.strong_count() > 0);
    let known: Vec<_> = table.iter().filter_map(Weak::upgrade).collect();

    // An open file keeps its inode from being used again, so that equal ids mean the same file.
    if let Some(id) = id(&dir)?
        && let Some(same) = known.iter().find(|known| known.id == id)
    {
        same.check_process()?;
        return Ok(same.clone());
    }
    for replaced in known.iter().filter(|known| known.dir == dir) {
        replaced.check_process()?;
        replaced.give_up();
    }
    drop(known);

    // One process after the other: whoever makes the files is done with it before the next looks at them, and
    // one that dies while it makes them leaves them to the next.
    let folder = folder::open_locked(&dir).map_err(at(&dir))?;
    let prepared = files::prepare(&dir)?;
    let write = Gate::new(prepared.write);
    let opened = when_closed(&dir, &write)?;
    if prepared.new {
        files::sync(&dir, &folder)?;
    }
    let id = id(&dir)?.ok_or_else(|| about(&dir, "the folder went away while it was opened"))?;
    folder::unlock(&folder).map_err(at(&dir))?;
    let gates = Gates { write, read: Gate::new(folder) };
    let environment = Arc::new(Environment::new(dir, id, gates, opened));
    table.push(Arc::downgrade(&environment));
    Ok(environment)
}

/// Which files are in the folder; `None` if there are none.
fn id(dir: &Path) -> Result<Option<FileId>> {
    let path = dir.join(files::DATA);
    match fs::metadata(&path) {
        Ok(data) => Ok(Some(FileId { device: data.dev(), inode: data.ino() })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(&path)(error)),
    }
}

/// An environment that nobody holds any more may still be closing in another thread.
fn when_closed(dir: &Path, write: &Gate) -> Result<Opened> {
    let until = Instant::now() + CLOSING;
    loop {
        match Opened::open(dir, write) {
            Ok(opened) => return Ok(opened),
            Err(heed::Error::EnvAlreadyOpened) => {
                if Instant::now() >= until {
                    return Err(about(dir, "the index's files have been replaced under a transaction still running"));
                }
                if let Some(closing) = heed::env_closing_event(dir) {
                    closing.wait_timeout(Duration::from_millis(50));
                }
            }
            Err(error) => return Err(explained(dir, error)),
        }
    }
}
