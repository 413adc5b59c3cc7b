//! Where images come from, and what is said of a place that is none.

use std::io::{self, IsTerminal};
use std::path::Path;

use oci_store::oci::source::{self, Source};
use oci_store::{Limits, Place, Transport};

use crate::failure::{Failure, Result, code};

/// Opens what lies at `place`.
pub(crate) fn open(place: &Place, limits: Limits) -> Result<Source<'static>> {
    if place.is_stream() && io::stdin().is_terminal() {
        let why = "stdin is a terminal, and no archive comes from one: pipe it in, or name a file";
        return Err(Failure::new(code::USAGE, format!("{place}: {why}")));
    }
    if is_elsewhere(place) {
        let why = "is no place that images are imported from: that is a path, oci:, oci-archive:, docker-archive: or -";
        let next = format!("`skopeo copy {place} oci-archive:FILE` makes an archive of it");
        return Err(Failure::new(code::USAGE, format!("{place} {why}; {next}")));
    }
    source::open(place, limits).map_err(|error| match with_ref(place) {
        Some(meant) => Failure::new(code::ERROR, format!("{error}; did you mean {meant}?")),
        None => error.into(),
    })
}

/// Whether nothing lies at a path that is written as skopeo writes what is elsewhere.
pub(crate) fn is_elsewhere(place: &Place) -> bool {
    const TRANSPORTS: [&str; 5] = ["docker:", "docker-daemon:", "containers-storage:", "dir:", "sif:"];
    let text = place.path.to_string_lossy();
    let is_written_so = text.contains("://") || TRANSPORTS.iter().any(|transport| text.starts_with(transport));
    place.transport == Transport::Path && is_written_so && !place.path.exists()
}

/// For `x.tar:v1`, where `x.tar` is there: `oci-archive:x.tar:v1`.
fn with_ref(place: &Place) -> Option<String> {
    let text = place.path.to_str().filter(|_| place.transport == Transport::Path && !place.path.exists())?;
    let path = Path::new(text.split_once(':')?.0);
    let transport = if path.is_dir() { Transport::Oci } else { Transport::OciArchive };
    path.exists().then(|| format!("{}{text}", transport.prefix()))
}
