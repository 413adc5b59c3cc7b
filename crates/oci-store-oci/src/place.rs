//! Places that images come from and go to, as they are written on a command line: a path, or a transport of skopeo's
//! with a path and, where there is one, a ref.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What lies at a place, as far as its writer has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Whatever lies at the path: what is there tells.
    Path,
    /// An image layout in a folder: `oci:DIR[:REF]`.
    Oci,
    /// A tar archive of an image layout: `oci-archive:FILE[:REF]`.
    OciArchive,
    /// A tar archive as `docker save` makes it: `docker-archive:FILE[:REF]`.
    DockerArchive,
    /// Standard input or output: `-`.
    Stream,
}

impl Transport {
    /// Those that are written before a path.
    const NAMED: [Self; 3] = [Self::Oci, Self::OciArchive, Self::DockerArchive];

    /// What stands before a path, with its colon; nothing where nothing does.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Oci => "oci:",
            Self::OciArchive => "oci-archive:",
            Self::DockerArchive => "docker-archive:",
            Self::Path | Self::Stream => "",
        }
    }
}

/// A place for images.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// What lies there.
    pub transport: Transport,
    /// Where; `-` for a stream.
    pub path: PathBuf,
    /// The image's name there, by the transports that have it behind the path. It need be none by the grammar of
    /// refs.
    pub reference: Option<String>,
}

impl Place {
    /// Whether this is standard input or output: `-`, `oci-archive:-`, `docker-archive:-`.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        match self.transport {
            Transport::Stream => true,
            Transport::OciArchive | Transport::DockerArchive => self.path.as_os_str() == "-",
            Transport::Path | Transport::Oci => false,
        }
    }

    /// Reads `PATH`, `oci:DIR[:REF]`, `oci-archive:FILE[:REF]`, `docker-archive:FILE[:REF]` or `-`.
    ///
    /// As for skopeo, the ref begins behind the first colon of the path. What exists under the whole text is a path,
    /// however it begins: so each file and folder can be named, if need be by `./`.
    ///
    /// # Errors
    /// [`Error::InvalidPlace`] if there is no path behind a transport, or a ref that is empty or not UTF-8.
    pub fn parse(text: impl AsRef<OsStr>) -> Result<Self> {
        let text = text.as_ref();
        let wrong = |why| Error::InvalidPlace { place: text.to_string_lossy().into_owned(), why };
        let plain = |transport| Self { transport, path: text.into(), reference: None };
        if text == "-" {
            return Ok(plain(Transport::Stream));
        }
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        let bytes = text.as_bytes();
        let named = Transport::NAMED
            .into_iter()
            .find_map(|transport| bytes.strip_prefix(transport.prefix().as_bytes()).map(|behind| (transport, behind)));
        let Some((transport, behind)) = named.filter(|_| fs::symlink_metadata(text).is_err()) else {
            return Ok(plain(Transport::Path));
        };
        let mut parts = behind.splitn(2, |byte| *byte == b':');
        let path = parts.next().filter(|path| !path.is_empty()).ok_or_else(|| wrong("there is no path in it"))?;
        let reference = parts.next().map(|reference| match std::str::from_utf8(reference) {
            Ok("") => Err(wrong("there is no ref behind its last colon")),
            Ok(reference) => Ok(reference.to_owned()),
            Err(_) => Err(wrong("its ref is not UTF-8")),
        });
        Ok(Self { transport, path: Path::new(OsStr::from_bytes(path)).to_owned(), reference: reference.transpose()? })
    }
}

/// As it is written, as far as it is UTF-8.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.transport.prefix(), self.path.display())?;
        self.reference.as_ref().map_or(Ok(()), |reference| write!(f, ":{reference}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ref_begins_behind_the_first_colon() {
        let good: [(&str, Transport, &str, Option<&str>); 10] = [
            ("dir", Transport::Path, "dir", None),
            ("dir:v1", Transport::Path, "dir:v1", None),
            ("oci", Transport::Path, "oci", None),
            ("./oci:dir", Transport::Path, "./oci:dir", None),
            ("OCI:dir", Transport::Path, "OCI:dir", None),
            ("oci:dir", Transport::Oci, "dir", None),
            ("oci:dir:v1", Transport::Oci, "dir", Some("v1")),
            ("oci-archive:/a b/x.tar:app:1.0", Transport::OciArchive, "/a b/x.tar", Some("app:1.0")),
            ("docker-archive:x.tar:h:5000/a/b:v1@x", Transport::DockerArchive, "x.tar", Some("h:5000/a/b:v1@x")),
            ("-", Transport::Stream, "-", None),
        ];
        for (text, transport, path, reference) in good {
            let place = Place::parse(text).unwrap();
            let expected = Place { transport, path: path.into(), reference: reference.map(str::to_owned) };
            assert_eq!(place, expected, "{text}");
            assert_eq!(place.to_string(), text);
        }
        let not_utf8 = Place::parse(OsStr::from_bytes(b"oci:\xff/x:v1")).unwrap();
        assert_eq!(not_utf8.path.as_os_str().as_bytes(), b"\xff/x");
        for text in [&b""[..], b"oci:", b"oci::v1", b"oci-archive:", b"oci:dir:", b"oci:dir:\xff"] {
            assert!(matches!(Place::parse(OsStr::from_bytes(text)), Err(Error::InvalidPlace { .. })), "{text:?}");
        }
    }
}
