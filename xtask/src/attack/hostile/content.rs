//! Bad content: blobs that are altered, cut off, missing or exchanged, and images whose graph is a trap.

use std::fs;
use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use super::case::Case;
use super::kit::{INDEX, Kit, LAYER, MANIFEST};

type Alter = fn(&mut Vec<u8>);

const ALTERED: &[(&str, Alter)] = &[
    ("first-byte", |bytes| bytes[0] ^= 1),
    ("middle-byte", |bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 0x40;
    }),
    ("last-byte", |bytes| {
        let at = bytes.len() - 1;
        bytes[at] ^= 0x80;
    }),
    ("cut-1", |bytes| bytes.truncate(bytes.len() - 1)),
    ("cut-half", |bytes| bytes.truncate(bytes.len() / 2)),
    ("emptied", Vec::clear),
    ("longer", |bytes| bytes.push(b' ')),
    ("twice", |bytes| bytes.extend(bytes.clone())),
];

/// The parts of an image in an index: config, layer, manifest, index.
fn parts(kit: &Kit) -> Result<[(&'static str, Value); 4]> {
    let (config, layer) = (kit.config()?, kit.layer(7)?);
    let manifest = kit.image_of(&config, std::slice::from_ref(&layer))?;
    let index = kit.index_of(std::slice::from_ref(&manifest))?;
    kit.list(std::slice::from_ref(&index))?;
    Ok([("config", config), ("layer", layer), ("manifest", manifest), ("index", index)])
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (n, part) in ["config", "layer", "manifest", "index"].into_iter().enumerate() {
        for (name, alter) in ALTERED {
            cases.push(Case::bad(format!("{part}-{name}"), move |kit| kit.change(&parts(kit)?[n].1, alter)));
        }
        cases.push(Case::bad(format!("{part}-missing"), move |kit| {
            Ok(fs::remove_file(kit.path_of(&parts(kit)?[n].1))?)
        }));
        cases.push(Case::bad(format!("{part}-exchanged"), move |kit| {
            let parts = parts(kit)?;
            let (one, other) = (kit.path_of(&parts[n].1), kit.path_of(&parts[(n + 1) % 4].1));
            let bytes = fs::read(&one)?;
            fs::rename(&other, &one)?;
            Ok(fs::write(other, bytes)?)
        }));
    }
    cases.extend(graphs());
    cases
}

/// Indexes in each other, `depth` of them; each names the one below `times` times. Every path ends at one image.
pub(super) fn nested(kit: &Kit, depth: usize, times: usize) -> Result<Value> {
    let mut at = kit.image()?;
    for _ in 0..depth {
        at = kit.index_of(&vec![at; times])?;
    }
    Ok(at)
}

fn fake(digit: char) -> Value {
    json!({ "mediaType": INDEX, "digest": format!("sha256:{}", digit.to_string().repeat(64)), "size": 300 })
}

fn graphs() -> Vec<Case> {
    // A document at another's name, filled up to the size that its descriptors say.
    let place = |kit: &Kit, at: &Value, below: &Value| -> Result<()> {
        let mut text = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [below] }).to_string();
        text.push_str(&" ".repeat(300 - text.len()));
        fs::File::create(kit.path_of(at))?.write_all(text.as_bytes())?;
        kit.list(std::slice::from_ref(at))
    };
    vec![
        Case::bad("2-40-paths", |kit| {
            // 43 blobs, of which 40 are indexes: deeper than any image is.
            let root = nested(kit, 40, 2)?;
            kit.list(&[root])
        }),
        Case::bad("depth-400", |kit| {
            let root = nested(kit, 400, 1)?;
            kit.list(&[root])
        }),
        Case::bad("depth-400-wide", |kit| {
            let root = nested(kit, 400, 20)?;
            kit.list(&[root])
        }),
        Case::bad("30-deep-last-missing", |kit| {
            let gone = kit.image_of(&kit.config()?, &[kit.layer(9)?])?;
            fs::remove_file(kit.path_of(&gone))?;
            let mut at = gone;
            for _ in 0..30 {
                at = kit.index_of(&[at.clone(), at])?;
            }
            kit.list(&[at])
        }),
        Case::bad("20-000-layers-last-missing", |kit| {
            let mut layers = vec![kit.layer(1)?; 20_000];
            layers.push(json!({ "mediaType": LAYER, "digest": format!("sha256:{}", "a".repeat(64)), "size": 5 }));
            kit.list(&[kit.image_of(&kit.config()?, &layers)?])
        }),
        Case::bad("20-000-missing", |kit| {
            let missing = |n| json!({ "mediaType": LAYER, "digest": format!("sha256:{n:064x}"), "size": 5 });
            let layers: Vec<Value> = (0..20_000).map(missing).collect();
            kit.list(&[kit.image_of(&kit.config()?, &layers)?])
        }),
        Case::bad("256-000-descriptors", |kit| {
            // To be had elsewhere, so that nothing is missing.
            let layer = |size| json!({ "mediaType": "x", "digest": format!("sha256:{}", "a".repeat(64)), "size": size, "urls": ["x"] });
            let config = kit.config()?;
            let manifest =
                |n: u64| kit.image_of(&config, &(1..32_001).map(|at| layer(n * 32_000 + at)).collect::<Vec<_>>());
            kit.list(&[kit.index_of(&(0..8).map(manifest).collect::<Result<Vec<_>>>()?)?])
        }),
        Case::bad("names-itself", move |kit| place(kit, &fake('1'), &fake('1'))),
        Case::bad("names-its-parent", move |kit| {
            place(kit, &fake('1'), &fake('2'))?;
            place(kit, &fake('2'), &fake('1'))
        }),
        Case::bad("is-its-own-config", |kit| {
            let own = json!({ "mediaType": MANIFEST, "digest": format!("sha256:{}", "3".repeat(64)), "size": 400 });
            let mut text = super::kit::image(&own, &[]).to_string();
            text.push_str(&" ".repeat(400 - text.len()));
            fs::write(kit.path_of(&own), text)?;
            kit.list(&[own])
        }),
    ]
}
