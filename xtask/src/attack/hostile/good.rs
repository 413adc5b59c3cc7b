//! Unusual input that is right: taken as it is, and given out as it came in.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha384, Sha512};

use super::case::Case;
use super::content::nested;
use super::kit::{CONFIG, EMPTY, INDEX, Kit, LAYER, MANIFEST, NAME, hex, image};

const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest that differs from the usual one by a change of the document.
fn changed(name: &str, change: fn(&mut Value)) -> Case {
    Case::good(name, move |kit| {
        let mut document = image(&kit.config()?, &[kit.layer(1)?]);
        change(&mut document);
        kit.list(&[kit.document(MANIFEST, &document)?])
    })
}

/// An image of one layer of these bytes and type.
fn layer(name: &str, media_type: &'static str, bytes: impl Fn() -> Vec<u8> + 'static) -> Case {
    Case::good(name, move |kit| kit.list(&[kit.image_of(&kit.config()?, &[kit.blob(media_type, &bytes())?])?]))
}

/// The usual image, its manifest written in another way.
fn written(name: &str, write: fn(&Value) -> Vec<u8>) -> Case {
    Case::good(name, move |kit| {
        let document = image(&kit.config()?, &[kit.layer(1)?]);
        kit.list(&[kit.blob(MANIFEST, &write(&document))?])
    })
}

/// A layout to which something is done that must not matter.
fn layout(name: &str, change: fn(&Kit) -> Result<()>) -> Case {
    Case::good(name, change)
}

/// Puts a blob under another algorithm's name.
fn under(kit: &Kit, algorithm: &str, descriptor: &Value) -> Result<Value> {
    let from = kit.path_of(descriptor);
    let bytes = fs::read(&from)?;
    let hex = if algorithm == "sha512" { hex(&Sha512::digest(&bytes)) } else { hex(&Sha384::digest(&bytes)) };
    let mut other = descriptor.clone();
    other["digest"] = json!(format!("{algorithm}:{hex}"));
    fs::create_dir_all(kit.folder.join("blobs").join(algorithm))?;
    fs::rename(from, kit.path_of(&other))?;
    Ok(other)
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for algorithm in ["sha384", "sha512"] {
        cases.push(Case::good(format!("{algorithm}-all"), move |kit| {
            let config = under(kit, algorithm, &kit.config()?)?;
            let layer = under(kit, algorithm, &kit.layer(1)?)?;
            let image = under(kit, algorithm, &kit.image_of(&config, &[layer])?)?;
            kit.list(&[image])
        }));
        cases.push(Case::good(format!("{algorithm}-layer"), move |kit| {
            let layer = under(kit, algorithm, &kit.layer(1)?)?;
            kit.list(&[kit.image_of(&kit.config()?, &[layer, kit.layer(2)?])?])
        }));
    }
    cases.extend(graphs());
    cases.extend(manifests());
    cases.extend(layouts());
    cases
}

fn graphs() -> Vec<Case> {
    vec![
        Case::good("nested-3", |kit| {
            let root = nested(kit, 3, 1)?;
            kit.list(&[root])
        }),
        Case::good("nested-30-2-30-paths", |kit| {
            let root = nested(kit, 30, 2)?;
            kit.list(&[root])
        }),
        Case::good("20-000-layers", |kit| {
            let few = (0..50).map(|seed| kit.layer(seed)).collect::<Result<Vec<_>>>()?;
            let layers: Vec<Value> = few.iter().cycle().take(20_000).cloned().collect();
            kit.list(&[kit.image_of(&kit.config()?, &layers)?])
        }),
        Case::good("10-000-children", |kit| {
            let child = kit.image()?;
            kit.list(&[kit.index_of(&vec![child; 10_000])?])
        }),
        Case::good("empty-index", |kit| kit.list(&[kit.index_of(&[])?])),
        Case::good("null-manifests-blob", |kit| {
            kit.list(&[kit.document(INDEX, &json!({ "schemaVersion": 2, "manifests": null }))?])
        }),
        Case::good("platform-variants", |kit| {
            let mut children = Vec::new();
            for (n, variant) in ["v5", "v6", "v7", "v8"].into_iter().enumerate() {
                let mut child = kit.image_of(&kit.config()?, &[kit.layer(n as u64)?])?;
                child["platform"] = json!({ "os": "linux", "architecture": "arm", "variant": variant });
                children.push(child);
            }
            let mut odd = kit.image()?;
            odd["platform"] = json!({ "os": "z/OS", "architecture": "π", "os.features": ["x"], "more": 1 });
            children.push(odd);
            kit.list(&[kit.index_of(&children)?])
        }),
        Case::good("index-of-an-artifact-type", |kit| {
            let document = json!({ "schemaVersion": 2, "mediaType": INDEX, "artifactType": "x/y",
                "manifests": [kit.image()?], "annotations": { "a": "b" } });
            kit.list(&[kit.document(INDEX, &document)?])
        }),
        Case::good("dangling-subject", |kit| {
            let mut document = image(&kit.blob(EMPTY, b"{}")?, &[kit.blob(EMPTY, b"{}")?]);
            document["artifactType"] = json!("application/vnd.example");
            document["subject"] =
                json!({ "mediaType": MANIFEST, "digest": format!("sha256:{}", "d".repeat(64)), "size": 9 });
            kit.list(&[kit.document(MANIFEST, &document)?])
        }),
        Case::good("subject-there", |kit| {
            let mut document = image(&kit.blob(EMPTY, b"{}")?, &[]);
            document["subject"] = kit.image()?;
            kit.list(&[kit.document(MANIFEST, &document)?])
        }),
        Case::good("docker", |kit| {
            let config = kit.blob("application/vnd.docker.container.image.v1+json", b"{}")?;
            let layer = kit.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", b"\x1f\x8b")?;
            let document = json!({ "schemaVersion": 2, "mediaType": DOCKER, "config": config, "layers": [layer] });
            kit.list(&[kit.document(DOCKER, &document)?])
        }),
        Case::good("docker-list", |kit| {
            let document = json!({ "schemaVersion": 2, "mediaType": DOCKER, "config": kit.config()?, "layers": [] });
            let mut child = kit.document(DOCKER, &document)?;
            child["platform"] = json!({ "os": "linux", "architecture": "amd64" });
            let list = json!({ "schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [child] });
            kit.list(&[kit.document(DOCKER_LIST, &list)?])
        }),
        Case::good("artifact-manifest", |kit| {
            let kind = "application/vnd.oci.artifact.manifest.v1+json";
            let document = json!({ "mediaType": kind, "artifactType": "x/y", "blobs": [kit.layer(5)?] });
            kit.list(&[kit.document(kind, &document)?])
        }),
        Case::good("unknown-manifest-type", |kit| kit.list(&[kit.blob("application/x-what-ever", b"whatever")?])),
    ]
}

fn manifests() -> Vec<Case> {
    let unknown = "application/vnd.example.layer.v9+zip;x=\"y\"";
    vec![
        Case::good("empty-config", |kit| kit.list(&[kit.image_of(&kit.blob(EMPTY, b"{}")?, &[])?])),
        Case::good("config-no-json", |kit| kit.list(&[kit.image_of(&kit.blob(CONFIG, b"\xff\0 none")?, &[])?])),
        Case::good("config-of-escapes", |kit| {
            let config = json!({ "architecture": "\u{1b}[2J\u{202e}", "os": "a\nb\r", "created": "\u{9b}31m",
                "config": { "Labels": { "\u{1b}]0;x\u{7}": "\u{2066}" }, "Cmd": ["\u{1b}c"], "Env": ["\n\n=\u{8}"] },
                "history": [{ "created_by": "\u{1b}[31m" }] });
            kit.list(&[kit.image_of(&kit.document(CONFIG, &config)?, &[kit.layer(1)?])?])
        }),
        Case::good("same-blob-config-and-layer", |kit| {
            let both = kit.blob(EMPTY, b"{}")?;
            kit.list(&[kit.image_of(&both, std::slice::from_ref(&both))?])
        }),
        Case::good("same-blob-two-types", |kit| {
            let layers = [kit.blob(LAYER, b"the same")?, kit.blob("x/y", b"the same")?];
            kit.list(&[kit.image_of(&kit.config()?, &layers)?])
        }),
        Case::good("manifest-as-layer", |kit| {
            let mut inner = kit.image()?;
            inner["mediaType"] = json!(LAYER);
            kit.list(&[kit.image_of(&kit.config()?, &[inner])?])
        }),
        Case::good("duplicate-layers", |kit| {
            let layer = kit.layer(1)?;
            kit.list(&[kit.image_of(&kit.config()?, &[layer.clone(), layer.clone(), layer])?])
        }),
        Case::good("layers-elsewhere", |kit| {
            let layer = json!({ "mediaType": LAYER, "size": 9, "digest": format!("sha256:{}", "e".repeat(64)),
                "urls": ["https://example.com/layer"] });
            kit.list(&[kit.image_of(&kit.config()?, &[layer, kit.layer(1)?])?])
        }),
        Case::good("foreign-layer-without-urls", |kit| {
            let kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
            let layer = json!({ "mediaType": kind, "size": 9, "digest": format!("sha256:{}", "e".repeat(64)) });
            kit.list(&[kit.image_of(&kit.config()?, &[layer])?])
        }),
        layer("zero-length-layer", LAYER, Vec::new),
        layer("zstd-layer", "application/vnd.oci.image.layer.v1.tar+zstd", || b"(\xb5/\xfd none".to_vec()),
        layer("bomb-layer", "application/vnd.oci.image.layer.v1.tar+gzip", bomb),
        layer("unknown-layer-type", unknown, || b"?".to_vec()),
        layer("escapes-layer-type", "x/\u{1b}[2J\u{202e}\n", || b"?".to_vec()),
        layer("empty-layer-type", "", || b"?".to_vec()),
        changed("no-media-type", |document| {
            document.as_object_mut().and_then(|fields| fields.remove("mediaType"));
        }),
        changed("no-layers", |document| document["layers"] = json!([])),
        changed("null-layers", |document| document["layers"] = Value::Null),
        changed("unknown-fields", |document| {
            document["org.example"] = json!({ "a": [1, 2.5e10, null, true, "\u{0}\u{1b}", { "": {} }] });
            document["config"]["unknown"] = json!([[[]]]);
            document["layers"][0]["data"] = json!("e30=");
            document["layers"][0]["annotations"] = json!({ "": "", "A": "1", "a": "2" });
        }),
        changed("annotations-that-differ-by-case", |document| {
            document["annotations"] = json!({ "Layers": "1", "layers": "2", "LAYERS": "3" });
        }),
        changed("numbers", |document| document["x"] = json!([1e300, -0.0, 18_446_744_073_709_551_615_u64])),
        changed("just-under-4-MiB", |document| {
            let left = (4 << 20) - document.to_string().len() - 30;
            document["annotations"] = json!({ "x": "x".repeat(left) });
        }),
        changed("20-000-annotations", |document| {
            document["annotations"] = (0..20_000).map(|n| (n.to_string(), json!("x"))).collect();
        }),
        written("pretty", |document| serde_json::to_vec_pretty(document).unwrap_or_default()),
        written("crlf", |document| {
            format!("\r\n{}\r\n", serde_json::to_string_pretty(document).unwrap_or_default().replace('\n', "\r\n"))
                .into_bytes()
        }),
        written("blank-around", |document| format!("\t {document}{}", " \n".repeat(9000)).into_bytes()),
        written("escaped-keys", |document| document.to_string().replace("\"layers\"", "\"\\u006cayers\"").into_bytes()),
        written("depth-100", |document| {
            let deep = format!(",\"x\":{}{}}}", "[".repeat(100), "]".repeat(100));
            document.to_string().strip_suffix('}').map(|text| format!("{text}{deep}")).unwrap_or_default().into_bytes()
        }),
    ]
}

/// A gigabyte of zeros, compressed, and that again: nobody unpacks it.
fn bomb() -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![0; 1 << 20];
    for _ in 0..64 {
        let _ = encoder.write_all(&zeros);
    }
    encoder.finish().unwrap_or_default()
}

fn layouts() -> Vec<Case> {
    let mut cases = vec![
        layout("no-oci-layout", |kit| Ok(fs::remove_file(kit.folder.join("oci-layout"))?)),
        layout("version-1.9", |kit| {
            Ok(fs::write(kit.folder.join("oci-layout"), "{\"imageLayoutVersion\":\"1.9.0\",\"x\":1}\r\n")?)
        }),
        layout("extra-files", |kit| {
            fs::write(kit.folder.join("README"), "dear")?;
            fs::write(kit.folder.join("blobs/sha256/notes"), "dear")?;
            fs::write(kit.folder.join("blobs/README"), "dear")?;
            fs::create_dir_all(kit.folder.join("blobs/md5/x"))?;
            Ok(fs::write(kit.folder.join("blobs/sha256").join("0".repeat(64)), "no such bytes")?)
        }),
        layout("pretty-index.json", |kit| {
            let index: Value = serde_json::from_slice(&fs::read(kit.folder.join("index.json"))?)?;
            kit.index_json(serde_json::to_string_pretty(&index)?.replace('\n', "\r\n").as_bytes())
        }),
        layout("unknown-fields-index.json", |kit| {
            let mut entry = kit.image()?;
            entry["annotations"] = json!({ "org.opencontainers.image.ref.name": NAME, "x": "y" });
            entry["more"] = json!({ "a": [] });
            let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry], "x": [1], "annotations": {
                "io.oci-store.generation": "99999999999999999999", "io.oci-store.checksum": "sha256:0" } });
            kit.index_json(index.to_string().as_bytes())
        }),
        layout("said-to-be-ours", |kit| {
            let mut entry = kit.image()?;
            entry["annotations"] =
                json!({ "org.opencontainers.image.ref.name": NAME, "io.oci-store.incomplete": "true" });
            kit.list_as_is(&[entry])
        }),
        layout("same-name-twice-last-wins", |kit| kit.list(&[kit.image_named(8)?, kit.image()?])),
        layout("long-name", |kit| {
            let mut image = kit.image()?;
            image["annotations"] = json!({ "org.opencontainers.image.ref.name": "a/".repeat(511) + "b" });
            kit.list_as_is(&[image])
        }),
        layout("hard-linked-blobs", |kit| {
            for entry in fs::read_dir(kit.folder.join("blobs/sha256"))? {
                let path = entry?.path();
                fs::hard_link(&path, kit.folder.join(path.file_name().unwrap_or_default()))?;
            }
            Ok(())
        }),
        layout("read-only", |kit| {
            for entry in fs::read_dir(kit.folder.join("blobs/sha256"))? {
                fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o400))?;
            }
            fs::set_permissions(kit.folder.join("blobs/sha256"), fs::Permissions::from_mode(0o500))?;
            Ok(fs::set_permissions(&kit.folder, fs::Permissions::from_mode(0o500))?)
        }),
        layout("writable-by-all", |kit| {
            for entry in fs::read_dir(kit.folder.join("blobs/sha256"))? {
                fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o4777))?;
            }
            Ok(())
        }),
        layout("null-annotations", |kit| {
            let mut document = image(&kit.config()?, &[]);
            document["annotations"] = Value::Null;
            kit.list(&[kit.document(MANIFEST, &document)?])
        }),
        layout("31-MiB-index.json", |kit| {
            let text = fs::read_to_string(kit.folder.join("index.json"))?;
            kit.index_json(format!("{text}{}", " ".repeat(31 << 20)).as_bytes())
        }),
    ];
    for folder in ["blobs", "blobs/sha256"] {
        let case = Case::good(format!("link-for-{folder}"), move |kit| {
            let was = kit.folder.with_extension("outside");
            fs::rename(kit.folder.join(folder), &was)?;
            Ok(symlink(was, kit.folder.join(folder))?)
        });
        cases.push(case.folder_only());
    }
    let case = Case::good("link-for-the-layout", |kit| {
        let was = kit.folder.with_extension("outside");
        fs::rename(&kit.folder, &was)?;
        Ok(symlink(was, &kit.folder)?)
    });
    cases.push(case.folder_only());
    let many = layout("one-manifest-many-names", |kit| {
        let mut entries = vec![kit.image()?; 50];
        for (n, entry) in entries.iter_mut().enumerate() {
            entry["annotations"] = json!({ "org.opencontainers.image.ref.name": format!("v{n}") });
        }
        kit.list_as_is(&entries)
    });
    cases.push(many.words(&["import", "--all"]));
    let nameless = layout("no-name", |kit| kit.list_as_is(&[kit.image()?]));
    cases.push(nameless.words(&["import", "--dref=named"]));
    let form = layout("form-of-2016", |kit| {
        let image = kit.image()?;
        fs::create_dir(kit.folder.join("refs"))?;
        fs::write(kit.folder.join("refs/v1"), image.to_string())?;
        for entry in fs::read_dir(kit.folder.join("blobs/sha256"))? {
            let path = entry?.path();
            let name = format!("sha256-{}", path.file_name().unwrap_or_default().to_string_lossy());
            fs::rename(&path, kit.folder.join("blobs").join(name))?;
        }
        fs::remove_dir(kit.folder.join("blobs/sha256"))?;
        Ok(fs::remove_file(kit.folder.join("index.json"))?)
    });
    cases.push(form.folder_only());
    cases
}
