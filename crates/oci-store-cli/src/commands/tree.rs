//! `tree`, `referrers`.

use oci_store::Descriptor;
use oci_store::oci::questions::{Node, Part};
use oci_store::oci::{Role, media_type};
use serde_json::{Value, json};

use crate::args::{Referrers, Tree};
use crate::context::Context;
use crate::failure::Result;
use crate::output;
use crate::table::table;

use super::refs::short_type;

/// What the branches of a tree are drawn with.
struct Lines {
    branch: &'static str,
    last: &'static str,
    beside: &'static str,
}

const DRAWN: Lines = Lines { branch: "├─ ", last: "└─ ", beside: "│  " };
const ASCII: Lines = Lines { branch: "|-- ", last: "`-- ", beside: "|   " };

/// Whether the locale says that what is printed is read as UTF-8.
fn is_utf8() -> bool {
    let set = |name: &&str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set).unwrap_or_default().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

pub(crate) fn tree(context: &Context, args: &Tree) -> Result<()> {
    let node = context.store()?.tree(&args.image)?;
    context.print(&to_json(&node), || {
        let mut rows = Vec::new();
        let lines = if is_utf8() { &DRAWN } else { &ASCII };
        rows.push(row(&node, format!("{} {}", args.image, label(&node))));
        draw(&node, lines, "", &mut rows);
        table(["IMAGE", "DIGEST", "SIZE", ""], &rows)
    })
}

fn draw(node: &Node, lines: &Lines, before: &str, rows: &mut Vec<[String; 4]>) {
    for (at, below) in node.below.iter().enumerate() {
        let is_last = at + 1 == node.below.len();
        let branch = if is_last { lines.last } else { lines.branch };
        rows.push(row(below, format!("{before}{branch}{}", label(below))));
        let beside = if is_last { " ".repeat(lines.beside.chars().count()) } else { lines.beside.to_owned() };
        draw(below, lines, &format!("{before}{beside}"), rows);
    }
}

fn row(node: &Node, label: String) -> [String; 4] {
    let shared = match node.sharers {
        0 => String::new(),
        n => format!("in {} too", output::count(n.into(), "other image")),
    };
    let note = match node {
        Node { missing: true, .. } => "MISSING".to_owned(),
        Node { unreadable: Some(why), .. } => why.replace('\n', " "),
        Node { repeated: true, .. } => "see above".to_owned(),
        _ => shared,
    };
    let Descriptor { digest, size, .. } = &node.descriptor;
    [label, digest.to_string(), format!("{:>10}", output::size(*size)), note]
}

fn label(node: &Node) -> String {
    let kind = short_type(&node.descriptor.media_type);
    let text = match node.part {
        Part::Image if kind.contains('/') => brief(kind).to_owned(),
        Part::Image | Part::Listed(Role::Manifest) => kind.to_owned(),
        Part::Listed(Role::Config) => "config".to_owned(),
        Part::Listed(role) => format!("{} {}", role.name(), brief(kind)),
        Part::Referrer => format!("referrer {}", brief(node.descriptor.artifact_type().unwrap_or(kind))),
    };
    // Of a line, whatever a stranger wrote.
    let text = text.replace('\n', " ");
    node.platform.as_ref().map_or_else(|| text.clone(), |platform| format!("{text} {platform}"))
}

/// What tells one media type of layers from another.
fn brief(media_type: &str) -> &str {
    let begins =
        ["application/vnd.oci.image.layer.v1.", "application/vnd.docker.image.rootfs.diff.", "application/vnd."];
    begins.iter().find_map(|begin| media_type.strip_prefix(begin)).unwrap_or(media_type)
}

fn to_json(node: &Node) -> Value {
    let role = match node.part {
        Part::Image => None,
        Part::Listed(role) => Some(role.name()),
        Part::Referrer => Some("referrer"),
    };
    let below: Vec<Value> = node.below.iter().map(to_json).collect();
    let Descriptor { media_type, digest, size, .. } = &node.descriptor;
    json!({
        "digest": digest, "mediaType": media_type, "size": size, "role": role, "platform": node.platform,
        "artifactType": node.descriptor.artifact_type(), "otherImages": node.sharers, "missing": node.missing,
        "unreadable": node.unreadable, "repeated": node.repeated, "children": below,
    })
}

pub(crate) fn referrers(context: &Context, args: &Referrers) -> Result<()> {
    let reader = context.reader()?;
    let subject = reader.find(&args.image)?;
    let found = reader.referrers_of(&subject.digest, args.artifact_type.as_deref())?;
    context.print(&found, || {
        let row = |referrer: &Descriptor| {
            let kind = referrer.artifact_type().unwrap_or(media_type::MANIFEST).replace('\n', " ");
            [referrer.digest.to_string(), output::size(referrer.size), kind]
        };
        table(["DIGEST", "SIZE", "ARTIFACT TYPE"], &found.iter().map(row).collect::<Vec<_>>())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_told_by_what_differs() {
        for (media_type, wanted) in [
            ("application/vnd.oci.image.layer.v1.tar+zstd", "tar+zstd"),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", "tar.gzip"),
            ("application/vnd.example.sbom", "example.sbom"),
            ("text/plain", "text/plain"),
        ] {
            assert_eq!(brief(media_type), wanted);
        }
    }
}
