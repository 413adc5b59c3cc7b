//! `export` and `inventory`.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use oci_store::{
    Compression, Destination, Digest, ExportOptions, Exported, Form, Inventory, Outgoing, Packing, Place, RefName,
    Transport,
};
use serde_json::json;

use super::places::is_elsewhere;
use crate::args::Export;
use crate::context::{Context, Shape};
use crate::failure::{Failure, Result, code};
use crate::output;
use crate::progress::Bar;
use crate::reader::{Listed, Reader};

/// Where to.
enum Target {
    Folder(PathBuf),
    File(PathBuf, Packing),
    Stdout(Packing),
}

pub(crate) fn export(context: &Context, mut args: Export) -> Result<()> {
    let place = Place::parse(args.places.pop().unwrap_or_default())?;
    let target = target_of(&place, args.compress.map(Compression::from))?;
    let dref = match (args.dref, &place.reference) {
        (Some(_), Some(_)) => return Err(wrong(&place, "the name is given twice: with --dref and in the destination")),
        (None, Some(_)) if args.all => return Err(wrong(&place, "a ref in the destination does not go with --all")),
        (None, Some(reference)) => Some(reference.parse::<RefName>()?),
        (given, None) => given,
    };
    let named = args.places.drain(..).map(|given| given.into_string().map_err(no_ref));
    let named = named.collect::<Result<Vec<String>>>()?;
    if args.sref.is_some() && !named.is_empty() {
        return Err(Failure::new(code::USAGE, "the ref is given twice: with --sref and before the destination"));
    }
    let is_place_said = args.sref.is_some() || args.all;
    let named: Vec<String> = args.sref.into_iter().chain(named).collect();
    if args.all && !named.is_empty() {
        return Err(Failure::new(code::USAGE, "with --all there is no ref to be said before the destination"));
    }
    if dref.is_some() && named.len() > 1 {
        return Err(Failure::new(code::USAGE, "one name is given for the destination, and there are several images"));
    }
    let reader = context.reader()?;
    if !is_place_said {
        check_destination(&reader, &place, &named)?;
    }
    let images = match (args.all, dref, named.as_slice()) {
        (true, ..) => all(context, &reader)?,
        (false, Some(name), [image]) => vec![Outgoing { image: image.clone(), name }],
        (false, Some(name), _) => vec![Outgoing { image: only_ref(context, &reader)?, name }],
        (false, None, []) => vec![under_its_name(&reader, &only_ref(context, &reader)?)?],
        (false, None, several) => several.iter().map(|image| under_its_name(&reader, image)).collect::<Result<_>>()?,
    };
    let exclude = args.exclude.as_deref().map(excluded).transpose()?;
    let options = ExportOptions {
        referrers: !args.no_referrers,
        platform: args.platform,
        exclude: exclude.iter().flat_map(Inventory::digests).cloned().collect(),
        verify: args.verify,
        sync: args.sync,
    };
    let bar = Bar::new(context, "export");
    let mut stdout = Stdout(io::stdout());
    let (to, is_stdout) = match &target {
        Target::Folder(path) => (Destination::Folder(path), false),
        Target::File(path, packing) => (Destination::File(path, *packing), false),
        Target::Stdout(packing) => (Destination::Stream(&mut stdout, *packing), true),
    };
    let exported = reader.export(&images, to, &options, &bar)?;
    drop(bar);
    for (name, missing) in &exported.incomplete {
        let more = match missing.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let first = missing.first().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(
            "{name}: incomplete, as it was let in: {first}{more}; `check --repair --from SOURCE` fetches it"
        );
    }
    if is_stdout { Ok(()) } else { report(context, &exported) }
}

fn excluded(path: &Path) -> Result<Inventory> {
    if path.as_os_str() != "-" {
        return Ok(Inventory::read(path)?);
    }
    if io::stdin().is_terminal() {
        let why = "--exclude -: stdin is a terminal, and no inventory comes from one: pipe it in, or name a file";
        return Err(Failure::new(code::USAGE, why));
    }
    Ok(Inventory::read_from("stdin", io::stdin().lock())?)
}

fn report(context: &Context, exported: &Exported) -> Result<()> {
    let images = exported.images.iter();
    let lacks = |name: &RefName| exported.incomplete.iter().any(|(lacking, _)| lacking == name);
    let images: Vec<_> = images
        .map(|(name, target)| json!({ "ref": name.as_str(), "digest": target.digest, "incomplete": lacks(name) }))
        .collect();
    if context.shape() == Shape::Names {
        return context.print(&images, String::new);
    }
    let mut json =
        json!({ "images": images, "blobs": exported.blobs, "bytes": exported.bytes, "excluded": exported.excluded });
    if let [(name, target)] = exported.images.as_slice() {
        json["ref"] = json!(name.as_str());
        json["digest"] = json!(target.digest);
    }
    context.print(&json, || {
        let line = |(name, target): &(RefName, oci_store::Descriptor)| format!("{name} {}\n", target.digest);
        exported.images.iter().map(line).collect()
    })
}

fn wrong(place: &Place, why: &str) -> Failure {
    Failure::new(code::USAGE, format!("{place}: {why}"))
}

/// Refuses a destination that reads as one more ref: the destination was forgotten, and a folder of that name would be
/// made.
fn check_destination(reader: &Reader, place: &Place, named: &[String]) -> Result<()> {
    let text = place.to_string();
    if place.transport != Transport::Path || place.path.exists() || text.parse::<RefName>().is_err() {
        return Ok(());
    }
    let has_tag = named.is_empty() && text.contains(':');
    if !has_tag && reader.refs(&text, 1)?.first().is_none_or(|found| found.name != text) {
        return Ok(());
    }
    let refs = named.iter().chain([&text]).map(String::as_str).collect::<Vec<_>>().join(" ");
    let what = format!("no destination: `export {refs} DIR` says where to; a folder of that name is ./{text}");
    Err(Failure::new(code::USAGE, what))
}

fn no_ref(given: OsString) -> Failure {
    Failure::new(code::USAGE, format!("{}: no ref is called so", given.display()))
}

/// What a place is. A path alone that is a folder is a layout, and so is what is not there yet, unless it ends as
/// archives do.
fn target_of(place: &Place, compression: Option<Compression>) -> Result<Target> {
    let path = place.path.clone();
    let by_name = compression_of(&path);
    let is_archive = match place.transport {
        Transport::Path => path.is_file() || (by_name.is_some() && !path.is_dir()),
        Transport::Oci => false,
        _ => true,
    };
    let is_said = place.transport == Transport::Oci || by_name.is_some() || compression.is_some();
    if !is_said && !path.exists() && is_called_otherwise(&path) {
        let why = "archives are written as .tar, .tar.gz or .tar.zst";
        return Err(wrong(place, &format!("{why}; a folder of that name is oci:{}", path.display())));
    }
    if !is_archive {
        if is_elsewhere(place) {
            let why = "is no place that images are exported to: that is a path, oci:, oci-archive: or docker-archive:";
            return Err(Failure::new(code::USAGE, format!("{place} {why}; a folder of that name is ./{place}")));
        }
        return match compression {
            None => Ok(Target::Folder(path)),
            Some(_) => Err(wrong(place, "a folder is not compressed: leave --compress away")),
        };
    }
    let form = if place.transport == Transport::DockerArchive { Form::Docker } else { Form::Oci };
    let packing = Packing { form, compression: compression.or(by_name).unwrap_or_default() };
    if !place.is_stream() {
        return Ok(Target::File(path, packing));
    }
    if io::stdout().is_terminal() {
        let why = "stdout is a terminal, which can't show an archive: write it to a file, or pipe it into a program";
        return Err(wrong(place, why));
    }
    Ok(Target::Stdout(packing))
}

/// How an archive of that name is compressed; `None` if no archive is called so.
fn compression_of(path: &Path) -> Option<Compression> {
    const ENDINGS: &[(&str, Compression)] = &[
        (".tar", Compression::None),
        (".tar.gz", Compression::Gzip),
        (".tgz", Compression::Gzip),
        (".tar.zst", Compression::Zstd),
        (".tzst", Compression::Zstd),
    ];
    let name = path.file_name()?.to_string_lossy();
    ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, compression)| *compression)
}

/// Whether a name says that a file is an archive of a kind that is not written.
fn is_called_otherwise(path: &Path) -> bool {
    const ENDINGS: [&str; 6] = [".txz", ".tbz", ".tbz2", ".tlz", ".zip", ".7z"];
    let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { return false };
    let is_tar = name.rsplit_once('.').is_some_and(|(stem, _)| stem.ends_with(".tar"));
    is_tar || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn all(context: &Context, reader: &Reader) -> Result<Vec<Outgoing>> {
    let mut images = Vec::new();
    reader.each_ref("", usize::MAX, &mut |found| {
        images.push(outgoing(&found)?);
        Ok::<_, Failure>(())
    })?;
    if images.is_empty() { Err(no_refs(context)?) } else { Ok(images) }
}

/// A ref, under its own name. Of one that is called like a digest, that name would mean the blob.
fn outgoing(found: &Listed) -> Result<Outgoing> {
    let is_digest = found.name.parse::<Digest>().is_ok();
    let image = if is_digest { found.target.digest.to_string() } else { found.name.clone() };
    Ok(Outgoing { image, name: found.name.parse()? })
}

/// An image under its own name. A digest, or the beginning of one, would be a name by the grammar, but is none.
fn under_its_name(reader: &Reader, image: &str) -> Result<Outgoing> {
    if let Some(found) = reader.refs(image, 1)?.first().filter(|found| found.name == image) {
        return outgoing(found);
    }
    reader.find(image)?;
    Err(Failure::new(code::USAGE, format!("{image}: an image exported by its digest needs a name: --dref")))
}

fn only_ref(context: &Context, reader: &Reader) -> Result<String> {
    match reader.refs("", 2)?.as_slice() {
        [only] => Ok(only.name.clone()),
        [] => Err(no_refs(context)?),
        _ => {
            let path = context.path()?;
            let what = format!("{}: the store has several refs: say which with --sref, or take --all", path.display());
            Err(Failure::new(code::USAGE, what))
        }
    }
}

fn no_refs(context: &Context) -> Result<Failure> {
    Ok(Failure::new(code::NOT_FOUND, format!("{}: the store has no refs", context.path()?.display())))
}

/// A file for `export --exclude`, whatever the format is: nothing else reads it.
pub(crate) fn inventory(context: &Context) -> Result<()> {
    output::print_json(&context.reader()?.inventory()?)
}

/// Stdout, whose errors say so.
struct Stdout(io::Stdout);

impl Stdout {
    fn say(error: io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("stdout: {error}"))
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(Self::say)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(Self::say)
    }
}
