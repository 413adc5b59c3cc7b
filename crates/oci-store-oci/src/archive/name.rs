//! What a member's name means in an archive of an image layout.

use oci_store_cas::Digest;

/// What a member is to an image layout.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    IndexJson,
    OciLayout,
    Blob(Digest),
    Other,
}

/// The place of a member called `name`, or why there can't be one of that name.
pub(super) fn place(name: &[u8], is_folder: bool) -> Result<Place, &'static str> {
    if name.contains(&0) {
        return Err("a zero byte in its name");
    }
    if name.starts_with(b"/") {
        return Err("an absolute name");
    }
    if !is_folder && name.ends_with(b"/") {
        return Err("a file with a folder's name");
    }
    let parts: Vec<&[u8]> = name.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    if parts.contains(&b"..".as_slice()) {
        return Err("a name that leads out of its folder");
    }
    let (place, below) = match parts.as_slice() {
        [] if is_folder => return Ok(Place::Other),
        [] => return Err("a file without a name"),
        [b"index.json", below @ ..] => (Place::IndexJson, below),
        [b"oci-layout", below @ ..] => (Place::OciLayout, below),
        [b"blobs"] if !is_folder => return Err("a file in place of the blobs' folder"),
        [b"blobs", rest @ ..] => match blob(rest)? {
            Some(digest) => (Place::Blob(digest), rest.get(2..).unwrap_or_default()),
            None => return Ok(Place::Other),
        },
        _ => return Ok(Place::Other),
    };
    if is_folder || !below.is_empty() { Err("a folder in place of a file") } else { Ok(place) }
}

/// The digest that a name below `blobs/` stands for, if it stands for one that can be computed.
fn blob(rest: &[&[u8]]) -> Result<Option<Digest>, &'static str> {
    let mut texts = Vec::new();
    for part in rest {
        texts.push(std::str::from_utf8(part).map_err(|_| "a name below blobs/ that is not UTF-8")?);
    }
    let [algorithm, encoded, ..] = texts.as_slice() else { return Ok(None) };
    let digest = format!("{algorithm}:{encoded}").parse::<Digest>().ok();
    Ok(digest.filter(|digest| digest.known_algorithm().is_some()))
}
