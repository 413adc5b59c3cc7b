//! Bad documents: JSON that is none, that is too deep or too long, that two parsers would read differently, and
//! documents of two kinds at once.

use std::fs::{self, File};

use anyhow::Result;
use serde_json::{Value, json};

use super::case::Case;
use super::kit::{CONFIG, INDEX, Kit, LAYER, MANIFEST, NAME, digest_of};

/// A document that can be spoilt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    IndexJson,
    Manifest,
    Index,
    OciLayout,
}

const TARGETS: [(Target, &str); 4] = [
    (Target::IndexJson, "index.json"),
    (Target::Manifest, "manifest"),
    (Target::Index, "index"),
    (Target::OciLayout, "oci-layout"),
];

impl Target {
    fn text(self, kit: &Kit) -> Result<String> {
        Ok(match self {
            Self::IndexJson => fs::read_to_string(kit.folder.join("index.json"))?,
            Self::Manifest => fs::read_to_string(kit.path_of(&kit.image()?))?,
            Self::Index => fs::read_to_string(kit.path_of(&kit.index_of(&[kit.image()?])?))?,
            Self::OciLayout => "{\"imageLayoutVersion\":\"1.0.0\"}".to_owned(),
        })
    }

    fn put(self, kit: &Kit, bytes: &[u8]) -> Result<()> {
        match self {
            Self::IndexJson => kit.index_json(bytes),
            Self::Manifest => kit.list(&[kit.blob(MANIFEST, bytes)?]),
            Self::Index => kit.list(&[kit.blob(INDEX, bytes)?]),
            Self::OciLayout => Ok(fs::write(kit.folder.join("oci-layout"), bytes)?),
        }
    }
}

type Spoil = fn(&str) -> Vec<u8>;

/// In front of the last brace: one more field.
fn more(text: &str, field: &str) -> Vec<u8> {
    format!("{},{field}}}", text.trim_end().strip_suffix('}').unwrap_or(text)).into_bytes()
}

const JSON: &[(&str, Spoil)] = &[
    ("empty", |_| Vec::new()),
    ("blank", |_| b" \n".to_vec()),
    ("null", |_| b"null".to_vec()),
    ("list", |text| format!("[{text}]").into_bytes()),
    ("text", |text| json!(text).to_string().into_bytes()),
    ("number", |_| b"2".to_vec()),
    ("cut", |text| text.as_bytes()[..text.len() - 2].to_vec()),
    ("brace-more", |text| format!("{text}}}").into_bytes()),
    ("two", |text| format!("{text}{text}").into_bytes()),
    ("nul-behind", |text| format!("{text}\0").into_bytes()),
    ("bom", |text| format!("\u{feff}{text}").into_bytes()),
    ("utf-16", |text| text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ("not-utf-8", |text| [&more(text, "\"x\":\"")[..text.len() + 4], b"\xff\xfe\"}"].concat()),
    ("overlong", |text| [&more(text, "\"x\":\"")[..text.len() + 4], b"\xc0\xaf\"}"].concat()),
    ("surrogate", |text| more(text, "\"x\":\"\\ud800\"")),
    ("control", |text| more(text, "\"x\":\"\u{1}\"")),
    ("nan", |text| more(text, "\"x\":NaN")),
    ("infinity", |text| more(text, "\"x\":-Infinity")),
    ("comment", |text| format!("{text} // all").into_bytes()),
    ("comma", |text| more(text, "")),
    ("single-quotes", |text| text.replace('"', "'").into_bytes()),
    ("deep-lists", |text| more(text, &format!("\"x\":{}{}", "[".repeat(100_000), "]".repeat(100_000)))),
    ("deep-open", |_| vec![b'['; 100_000]),
    ("deep-objects", |text| more(text, &format!("\"x\":{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)))),
    ("key-twice", |text| more(text, "\"x\":1,\"x\":2")),
    ("key-twice-below", |text| more(text, "\"x\":[{\"y\":1,\"y\":1}]")),
    ("key-twice-escaped", |text| more(text, "\"x\":1,\"\\u0078\":2")),
    ("annotation-twice", |text| more(text, "\"annotations\":{\"x\":\"1\",\"x\":\"2\"}")),
];

/// Fields that are there twice, or under a name that some parsers take for the same.
const AGAIN: &[(Target, &str)] = &[
    (Target::IndexJson, "\"manifests\":[]"),
    (Target::IndexJson, "\"Manifests\":[]"),
    (Target::IndexJson, "\"MANIFESTS\":[]"),
    (Target::IndexJson, "\"manife\u{17f}ts\":[]"),
    (Target::IndexJson, "\"schemaVersion\":1"),
    (Target::IndexJson, "\"SchemaVersion\":1"),
    (Target::Index, "\"manifests\":[]"),
    (Target::Index, "\"Manifests\":[]"),
    (Target::Index, "\"mediaType\":\"x\""),
    (Target::Manifest, "\"layers\":[]"),
    (Target::Manifest, "\"Layers\":[]"),
    (Target::Manifest, "\"layer\u{17f}\":[]"),
    (Target::Manifest, "\"config\":null"),
    (Target::Manifest, "\"Config\":{}"),
    (Target::Manifest, "\"mediaType\":\"x\""),
    (Target::Manifest, "\"mediatype\":\"x\""),
    (Target::Manifest, "\"schemaVersion\":1"),
    (Target::OciLayout, "\"imageLayoutVersion\":\"2.0.0\""),
    (Target::OciLayout, "\"ImageLayoutVersion\":\"2.0.0\""),
];

/// Texts that are replaced by others.
const REPLACED: &[(Target, &str, &str, &str)] = &[
    (Target::IndexJson, "version-1", "\"schemaVersion\":2", "\"schemaVersion\":1"),
    (Target::IndexJson, "version-text", "\"schemaVersion\":2", "\"schemaVersion\":\"2\""),
    (Target::IndexJson, "version-none", "\"schemaVersion\":2", "\"x\":2"),
    (Target::IndexJson, "manifests-object", "[", "{\"a\":["),
    (Target::IndexJson, "digest-twice", "\"digest\"", "\"digest\":\"sha256:00\",\"digest\""),
    (Target::IndexJson, "digest-upper", "\"digest\"", "\"Digest\":\"sha256:00\",\"digest\""),
    (Target::IndexJson, "size-twice", "\"size\"", "\"size\":1,\"size\""),
    (Target::Index, "no-manifests", "\"manifests\"", "\"x\""),
    (Target::Index, "manifests-text", "\"manifests\":", "\"manifests\":\"x\",\"x\":"),
    (Target::Manifest, "no-layers", "\"layers\"", "\"x\""),
    (Target::Manifest, "no-config", "\"config\"", "\"x\""),
    (Target::Manifest, "layers-text", "\"layers\":", "\"layers\":\"x\",\"x\":"),
    (Target::Manifest, "layers-numbers", "\"layers\":", "\"layers\":[1,2],\"x\":"),
    (Target::Manifest, "config-list", "\"config\":", "\"config\":[],\"x\":"),
    (Target::OciLayout, "version-2", "1.0.0", "2.0.0"),
    (Target::OciLayout, "version-10", "1.0.0", "10.0.0"),
    (Target::OciLayout, "version-number", "\"1.0.0\"", "1"),
    (Target::OciLayout, "version-empty", "1.0.0", ""),
    (Target::OciLayout, "version-escape", "1.0.0", "\\u001b[2J\\u202e\\n2"),
    (Target::OciLayout, "no-version", "imageLayoutVersion", "x"),
];

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (target, name) in TARGETS {
        for (what, spoil) in JSON {
            let case = Case::bad(format!("json-{what}-{name}"), move |kit| {
                let text = target.text(kit)?;
                target.put(kit, &spoil(&text))
            });
            // The version file of a store is its own.
            cases.push(if target == Target::OciLayout { case.not_in_place() } else { case });
        }
    }
    for (n, (target, field)) in AGAIN.iter().enumerate() {
        let case = Case::bad(format!("field-twice-{n}"), |kit| {
            let text = target.text(kit)?;
            target.put(kit, &more(&text, field))
        });
        cases.push(if *target == Target::OciLayout { case.not_in_place() } else { case });
    }
    for (target, name, from, to) in REPLACED {
        let of = TARGETS.iter().find(|(other, _)| other == target).map_or("", |(_, name)| name);
        let case = Case::bad(format!("{name}-{of}"), move |kit| {
            let text = target.text(kit)?;
            target.put(kit, text.replacen(from, to, 1).as_bytes())
        });
        cases.push(if *target == Target::OciLayout { case.not_in_place() } else { case });
    }
    cases.extend(confusions());
    cases.extend(long());
    cases
}

/// A manifest and an index of the same image, as one document, or as each other.
fn confusions() -> Vec<Case> {
    let both = |kit: &Kit, own: Option<&str>| -> Result<Value> {
        let image = kit.image()?;
        let mut document: Value = serde_json::from_slice(&fs::read(kit.path_of(&image))?)?;
        document["manifests"] = json!([image]);
        document["mediaType"] = json!(own);
        if own.is_none() {
            document.as_object_mut().and_then(|fields| fields.remove("mediaType"));
        }
        Ok(document)
    };
    let mut cases = Vec::new();
    for (name, outer) in [("manifest", MANIFEST), ("index", INDEX)] {
        cases.push(Case::bad(format!("both-as-{name}"), move |kit| {
            let document = both(kit, Some(outer))?;
            kit.list(&[kit.document(outer, &document)?])
        }));
        cases.push(Case::bad(format!("both-as-{name}-unsaid"), move |kit| {
            let document = both(kit, None)?;
            kit.list(&[kit.document(outer, &document)?])
        }));
    }
    let pairs = [("manifest", MANIFEST), ("index", INDEX), ("config", CONFIG), ("layer", LAYER), ("none", "x/y")];
    for (outer_name, outer) in pairs.into_iter().take(2) {
        for (inner_name, inner) in pairs.into_iter().filter(|(name, _)| *name != outer_name) {
            cases.push(Case::bad(format!("said-{inner_name}-named-{outer_name}"), move |kit| {
                let base = if outer == MANIFEST { kit.image()? } else { kit.index_of(&[kit.image()?])? };
                let mut document: Value = serde_json::from_slice(&fs::read(kit.path_of(&base))?)?;
                document["mediaType"] = json!(inner);
                kit.list(&[kit.document(outer, &document)?])
            }));
        }
    }
    cases.push(Case::bad("manifest-named-index", |kit| {
        let mut image = kit.image()?;
        image["mediaType"] = json!(INDEX);
        kit.list(&[image])
    }));
    cases.push(Case::bad("layer-named-manifest", |kit| {
        let layer = kit.blob(MANIFEST, b"\x1f\x8b\x08 a layer")?;
        kit.list(&[layer])
    }));
    cases.push(Case::bad("child-named-other", |kit| {
        let mut image = kit.image()?;
        image["mediaType"] = json!("application/vnd.docker.distribution.manifest.v2+json");
        kit.list(&[kit.index_of(&[image])?])
    }));
    cases
}

/// Too long, or long for nothing.
fn long() -> Vec<Case> {
    let sparse = |path: &std::path::Path| -> Result<()> {
        let file = File::create(path)?;
        Ok(file.set_len(1 << 30)?)
    };
    let blank = |n: usize| vec![b' '; n];
    let mut cases = vec![
        Case::bad("1-GiB-index.json", move |kit| sparse(&kit.folder.join("index.json"))).folder_only(),
        Case::bad("1-GiB-oci-layout", move |kit| sparse(&kit.folder.join("oci-layout"))).folder_only(),
        Case::bad("100-MiB-blank-index.json", move |kit| kit.index_json(&blank(100 << 20))).folder_only(),
        Case::bad("33-MiB-index.json", move |kit| {
            let text = fs::read(kit.folder.join("index.json"))?;
            kit.index_json(&[blank(33 << 20), text].concat())
        })
        .not_in_place(),
        Case::bad("31-MiB-index.json-open", |kit| kit.index_json(&b"[".repeat(31 << 20))).not_in_place(),
        Case::bad("31-MiB-index.json-last-bad", |kit| {
            let entry = kit.image()?.to_string();
            let many = vec![entry.as_str(); (31 << 20) / (entry.len() + 1)].join(",");
            kit.index_json(format!("{{\"schemaVersion\":2,\"manifests\":[{many},{{\"size\":0}}]}}").as_bytes())
        })
        .not_in_place(),
        Case::bad("31-MiB-index.json-of-strings", |kit| {
            let many = "\"\",".repeat((31 << 20) / 3);
            kit.index_json(format!("{{\"schemaVersion\":2,\"x\":[{many}0],\"manifests\":1}}").as_bytes())
        })
        .not_in_place(),
        Case::bad("4-MiB-manifest-of-annotations", |kit| {
            let many: Vec<String> = (0..280_000).map(|n| format!("\"{n}\":\"\"")).collect();
            let image = kit.image()?;
            let text = fs::read_to_string(kit.path_of(&image))?;
            let field = format!("\"annotations\":{{{},\"0\":\"\"}}", many.join(","));
            kit.list(&[kit.blob(MANIFEST, &more(&text, &field))?])
        }),
    ];
    for (name, media_type) in [("manifest", MANIFEST), ("index", INDEX)] {
        cases.push(
            Case::bad(format!("1-GiB-{name}"), move |kit| {
                let mut image = kit.image()?;
                sparse(&kit.path_of(&image))?;
                image["mediaType"] = json!(media_type);
                image["size"] = json!(1 << 30);
                kit.list(&[image])
            })
            .folder_only(),
        );
        cases.push(
            Case::bad(format!("1-GiB-{name}-said-small"), move |kit| {
                let mut image = kit.image()?;
                sparse(&kit.path_of(&image))?;
                image["mediaType"] = json!(media_type);
                kit.list(&[image])
            })
            .folder_only(),
        );
        cases.push(Case::bad(format!("4-MiB-and-1-{name}"), move |kit| {
            let target = if media_type == MANIFEST { Target::Manifest } else { Target::Index };
            let text = target.text(kit)?;
            let filled = more(&text, &format!("\"x\":\"{}\"", "x".repeat((4 << 20) - text.len() - 6)));
            target.put(kit, &filled)
        }));
    }
    cases.push(
        Case::bad("1-GiB-layer-said-small", move |kit| {
            let layer = kit.layer(4)?;
            sparse(&kit.path_of(&layer))?;
            kit.list(&[kit.image_of(&kit.config()?, &[layer])?])
        })
        .folder_only(),
    );
    cases.push(Case::bad("digest-is-a-path-and-name", |kit| {
        let image = kit.image()?;
        let sly = digest_of(&image).replacen("sha256:", "sha256:/../sha256/", 1);
        let mut entry = image;
        entry["digest"] = json!(sly);
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": NAME });
        kit.list_as_is(&[entry])
    }));
    cases
}
