//! `multi`: every shape of graph that stands on more than one manifest.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use super::contents::Contents;
use super::layout::{EMPTY, INDEX, Layout, MANIFEST, with};

const ARCHITECTURES: [&str; 3] = ["amd64", "arm64", "riscv64"];
const LAYERS: u64 = 3;
const LAYER_SIZE: u64 = 160 << 10;
const STATEMENT: &str = "application/vnd.in-toto+json";

/// `latest` is an index of one image per architecture, each with an attestation; `nested` is an index of that index;
/// `amd64` names one of its images directly. Two artifacts are in index.json without a name: an SBOM of `latest`, and
/// a signature of the SBOM, so that one is reached through another.
pub(super) fn write(folder: &Path) -> Result<()> {
    let mut layout = Layout::create(folder)?;
    let mut images = Vec::new();
    for architecture in ARCHITECTURES {
        let platform = json!({ "os": "linux", "architecture": architecture });
        images.push(with(&image(&layout, architecture)?, "platform", platform));
    }
    layout.tag("amd64", &plain(&images[0]));

    let mut entries = images.clone();
    for image in &images {
        entries.push(attestation(&layout, image)?);
    }
    let latest = index(&layout, &entries)?;
    layout.tag("latest", &latest);
    let nested = index(&layout, std::slice::from_ref(&latest))?;
    layout.tag("nested", &nested);

    let sbom = artifact(&layout, "sbom", &latest)?;
    layout.unnamed(&sbom);
    let signature = artifact(&layout, "signature", &sbom)?;
    layout.unnamed(&signature);
    layout.finish()
}

fn image(layout: &Layout, architecture: &str) -> Result<Value> {
    let mut layers = Vec::new();
    for n in 0..LAYERS {
        let name = format!("{architecture}-{n}");
        layers.push(layout.layer(&name, |layer| {
            layer.add(&format!("opt/{name}"), Contents::noise(&name), LAYER_SIZE)?;
            layer.add(&format!("opt/{name}.txt"), Contents::text(&name), LAYER_SIZE)
        })?);
    }
    layout.image(architecture, &layers)
}

/// As BuildKit stores provenance: a manifest of an unknown platform, tied to its image by annotations.
fn attestation(layout: &Layout, image: &Value) -> Result<Value> {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{ "name": "_", "digest": { "sha256": hex(image) } }],
        "predicate": { "builder": { "id": "xtask" } },
    });
    let layer = layout.document(STATEMENT, &statement)?;
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = layout.document(super::layout::CONFIG, &config)?;
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] });
    let annotations = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": image["digest"],
    });
    let descriptor = layout.document(MANIFEST, &manifest)?;
    let platform = json!({ "os": "unknown", "architecture": "unknown" });
    Ok(with(&with(&descriptor, "platform", platform), "annotations", annotations))
}

fn index(layout: &Layout, manifests: &[Value]) -> Result<Value> {
    layout.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }))
}

/// An artifact of one kind about `subject`, with the empty config.
fn artifact(layout: &Layout, kind: &str, subject: &Value) -> Result<Value> {
    let artifact_type = format!("application/vnd.example.{kind}.v1");
    let text = format!("the {kind} of {}", hex(subject));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": layout.blob(EMPTY, b"{}")?,
        "layers": [layout.blob(&format!("{artifact_type}+text"), text.as_bytes())?],
        "subject": plain(subject),
    });
    Ok(with(&layout.document(MANIFEST, &manifest)?, "artifactType", json!(artifact_type)))
}

/// The descriptor without platform and annotations.
fn plain(descriptor: &Value) -> Value {
    json!({ "mediaType": descriptor["mediaType"], "digest": descriptor["digest"], "size": descriptor["size"] })
}

fn hex(descriptor: &Value) -> &str {
    descriptor["digest"].as_str().and_then(|digest| digest.split_once(':')).map_or("", |(_, hex)| hex)
}
