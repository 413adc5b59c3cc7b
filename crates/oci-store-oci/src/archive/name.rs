//! What a member's name means in an archive.

use std::collections::HashMap;

use oci_store_cas::Digest;

/// What a member is to an image layout.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    IndexJson,
    OciLayout,
    ManifestJson,
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
    let parts = parts(name);
    if parts.contains(&b"..".as_slice()) {
        return Err("a name that leads out of its folder");
    }
    let (place, below) = match parts.as_slice() {
        [] if is_folder => return Ok(Place::Other),
        [] => return Err("a file without a name"),
        [b"index.json", below @ ..] => (Place::IndexJson, below),
        [b"oci-layout", below @ ..] => (Place::OciLayout, below),
        [b"manifest.json", below @ ..] => (Place::ManifestJson, below),
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

fn parts(name: &[u8]) -> Vec<&[u8]> {
    name.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect()
}

/// A name in its shortest form.
pub(super) fn normal(name: &[u8]) -> Vec<u8> {
    parts(name).join(&b'/')
}

/// The file that `docker save` links a layer to, `X/layer.tar` to `../Y/layer.tar` or `../Y.tar`; `None` if the link is any
/// other.
pub(super) fn layer_link(name: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let [_, b"layer.tar"] = parts(name).as_slice() else { return None };
    let target = target.strip_prefix(b"../")?;
    let is_layer = match target.split(|&byte| byte == b'/').collect::<Vec<_>>().as_slice() {
        [folder, b"layer.tar"] => is_plain(folder),
        [file] => is_plain(file) && file.ends_with(b".tar"),
        _ => false,
    };
    is_layer.then(|| target.to_owned())
}

fn is_plain(part: &[u8]) -> bool {
    !part.is_empty() && part != b"." && part != b".." && !part.contains(&0)
}

/// The most bytes that the names of all members may have, where all are kept.
const MAX_NAMES: usize = 32 << 20;

/// The names of all members, counted.
#[derive(Debug, Default)]
pub(super) struct Names(usize);

impl Names {
    pub(super) fn add(&mut self, name: &[u8]) -> Result<(), &'static str> {
        self.0 += name.len();
        if self.0 > MAX_NAMES { Err("the names of the members have more than 32 MiB") } else { Ok(()) }
    }
}

/// Adds to files those that links name. A link leads to a file, never to another link; one to what is not there is none. Says
/// which name is there twice.
pub(super) fn resolve<T: Clone>(
    files: &mut HashMap<Vec<u8>, T>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<(), Vec<u8>> {
    let found: Vec<_> = links.into_iter().map(|(name, target)| (name, files.get(&target).cloned())).collect();
    for (name, file) in found {
        if files.contains_key(&name) {
            return Err(name);
        }
        file.map(|file| files.insert(name, file));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_between_layers_are_followed() {
        assert_eq!(layer_link(b"a/layer.tar", b"../b/layer.tar").as_deref(), Some(&b"b/layer.tar"[..]));
        assert_eq!(layer_link(b"./a/layer.tar", b"../b.tar").as_deref(), Some(&b"b.tar"[..]));
        let refused: [(&[u8], &[u8]); 10] = [
            (b"layer.tar", b"../b/layer.tar"),
            (b"a/b/layer.tar", b"../b/layer.tar"),
            (b"a/other.tar", b"../b/layer.tar"),
            (b"a/layer.tar", b"b/layer.tar"),
            (b"a/layer.tar", b"/b/layer.tar"),
            (b"a/layer.tar", b"../../layer.tar"),
            (b"a/layer.tar", b"../..//layer.tar"),
            (b"a/layer.tar", b"../b/passwd"),
            (b"a/layer.tar", b"..//etc/layer.tar"),
            (b"a/layer.tar", b""),
        ];
        for (name, target) in refused {
            assert_eq!(layer_link(name, target), None, "{}", String::from_utf8_lossy(target));
        }
        let mut files = HashMap::from([(b"b".to_vec(), 1)]);
        let link = |from: &[u8], to: &[u8]| (from.to_vec(), to.to_vec());
        resolve(&mut files, vec![link(b"c", b"b"), link(b"d", b"c"), link(b"e", b"e")]).unwrap();
        assert_eq!(files.len(), 2, "one step, and no further");
        assert_eq!(resolve(&mut files, vec![link(b"b", b"c")]), Err(b"b".to_vec()));
    }
}
