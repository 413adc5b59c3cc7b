//! The look over an archive's headers: where the members are that an image layout, or an archive of `docker save`,
//! consists of. All others are passed over; what is refused says [`members`](super::members).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use oci_store_cas::Digest;

use super::members::{Budget, ENDS, Kind, Look, MAX_MEMBERS, Member, NO_FILE, TWICE};
use super::name::{Place, normal};
use crate::{Error, Result};

/// Where a member's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) at: u64,
    pub(super) size: u64,
}

/// The members of an image layout.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) index_json: Option<Extent>,
    pub(super) oci_layout: Option<Extent>,
    pub(super) manifest_json: Option<Extent>,
    /// By digest. A vector, as there may be very many. Those whose digest can't be computed are not in it.
    blobs: Vec<(Digest, Extent)>,
    /// The name of a link between layers, if there is one.
    link: Option<Vec<u8>>,
}

impl Members {
    /// Where a blob is, or `None` if it is not there.
    ///
    /// # Errors
    /// [`UnknownAlgorithm`](oci_store_cas::Error::UnknownAlgorithm).
    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<Extent>> {
        if digest.known_algorithm().is_none() {
            return Err(oci_store_cas::Error::UnknownAlgorithm(digest.clone()).into());
        }
        let found = self.blobs.binary_search_by(|(other, _)| other.cmp(digest)).ok();
        Ok(found.and_then(|at| self.blobs.get(at)).map(|(_, extent)| *extent))
    }

    /// Adds blobs that lie elsewhere than under `blobs/`. Of several of one name, one is taken.
    pub(super) fn add(&mut self, blobs: impl IntoIterator<Item = (Digest, Extent)>) {
        self.blobs.extend(blobs);
        self.blobs.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.blobs.dedup_by(|(a, _), (b, _)| a == b);
    }

    /// Says that there is no link, as none belongs into a layout.
    pub(super) fn check_links(&self, path: &Path) -> Result<()> {
        self.link.as_ref().map_or(Ok(()), |name| Err(Error::member(path, name, NO_FILE)))
    }
}

/// Looks over the archive in `file`; `path` is for messages.
pub(super) fn scan(path: &Path, file: &File) -> Result<Members> {
    scan_at_most(MAX_MEMBERS, path, file)
}

fn scan_at_most(most: usize, path: &Path, file: &File) -> Result<Members> {
    let mut members = Members::default();
    each(most, path, file, &mut |member, extent| {
        let Member { name, place, kind, .. } = member;
        if let Kind::Link(_) = kind {
            members.link.get_or_insert(name);
            return Ok(());
        }
        let once = |place: &mut Option<Extent>| match place.replace(extent) {
            Some(_) => Err(Error::member(path, &name, TWICE)),
            None => Ok(()),
        };
        match place {
            Place::IndexJson => once(&mut members.index_json)?,
            Place::OciLayout => once(&mut members.oci_layout)?,
            Place::ManifestJson => once(&mut members.manifest_json)?,
            Place::Blob(digest) if digest.known_algorithm().is_some() => members.blobs.push((digest, extent)),
            Place::Blob(_) | Place::Other => {}
        }
        Ok(())
    })?;
    members.blobs.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    if let Some([(digest, _), _]) = members.blobs.array_windows().find(|[(a, _), (b, _)]| a == b) {
        let name = format!("blobs/{}/{}", digest.algorithm(), digest.encoded());
        return Err(Error::member(path, name.as_bytes(), TWICE));
    }
    members.blobs.shrink_to_fit();
    Ok(members)
}

/// All files of an archive by their names, for the form in which any may be a layer. A link is where its target is.
pub(super) fn files(path: &Path, file: &File) -> Result<HashMap<Vec<u8>, Extent>> {
    let (mut files, mut links) = (HashMap::new(), Vec::new());
    let mut names = super::name::Names::default();
    each(MAX_MEMBERS, path, file, &mut |member, extent| {
        let name = normal(&member.name);
        names.add(&name).map_err(|why| Error::member(path, &member.name, why))?;
        match member.kind {
            Kind::Folder => return Ok(()),
            Kind::Link(target) => links.push((name, target)),
            Kind::File if files.insert(name, extent).is_none() => {}
            Kind::File => return Err(Error::member(path, &member.name, TWICE)),
        }
        Ok(())
    })?;
    super::name::resolve(&mut files, links).map_err(|name| Error::member(path, &name, TWICE))?;
    Ok(files)
}

fn each(most: usize, path: &Path, file: &File, take: &mut dyn FnMut(Member, Extent) -> Result<()>) -> Result<()> {
    let length = file.metadata().map_err(Error::io(path))?.len();
    let budget = Budget::new();
    let mut archive = tar::Archive::new(Headers { file, at: 0, budget: budget.clone() });
    let mut look = Look::new(path, most);
    for entry in archive.entries_with_seek().map_err(Error::io(path))? {
        budget.headers();
        let (member, entry) = look.at(entry)?;
        let size =
            member.as_ref().map_or_else(|| entry.header().entry_size().unwrap_or(u64::MAX), |member| member.size);
        let extent = Extent { at: entry.raw_file_position(), size };
        // With what fills its last block: an archive that lacks that was cut off, too.
        let end = extent.size.checked_next_multiple_of(512).and_then(|size| extent.at.checked_add(size));
        if end.is_none_or(|end| end > length) {
            return Err(Error::member(path, &entry.path_bytes(), ENDS));
        }
        member.map_or(Ok(()), |member| take(member, extent))?;
    }
    Ok(())
}

/// The archive as `tar` reads it.
struct Headers<'f> {
    file: &'f File,
    at: u64,
    budget: Budget,
}

impl Read for Headers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.budget.take(self.file.read_at(buffer, self.at)?)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for Headers<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(_) => None,
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tar::EntryType;

    use super::*;

    #[test]
    fn members_are_counted() {
        let mut file = tempfile::tempfile().unwrap();
        for name in ["index.json", "x", "x"] {
            let mut header = tar::Header::new_ustar();
            header.set_path(name).unwrap();
            header.set_size(0);
            header.set_entry_type(EntryType::Regular);
            header.set_cksum();
            file.write_all(header.as_bytes()).unwrap();
        }
        let path = Path::new("image.tar");
        scan_at_most(3, path, &file).unwrap();
        let error = scan_at_most(2, path, &file).unwrap_err();
        assert_eq!(error.to_string(), "image.tar: it has more than 2 members");
    }

    #[test]
    fn an_archive_that_ends_in_a_global_header_was_cut_off() {
        let comment = b"21 comment=something\n";
        let mut header = tar::Header::new_ustar();
        header.set_path("pax_global_header").unwrap();
        header.set_entry_type(EntryType::XGlobalHeader);
        header.set_size(comment.len() as u64);
        header.set_cksum();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(header.as_bytes()).unwrap();
        file.write_all(comment).unwrap();
        let error = scan(Path::new("image.tar"), &file).unwrap_err();
        assert_eq!(error.to_string(), "image.tar: pax_global_header: the archive ends before it does");
        file.set_len(1024).unwrap();
        scan(Path::new("image.tar"), &file).unwrap();
    }
}
