//! Archives: packed as any tool would, and with members that no tool should write.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::case::Case;
use super::kit::{Kit, NAME};

/// Packs a folder, whatever lies in it.
pub(super) fn pack(folder: &Path, to: &Path) -> Result<()> {
    let mut builder = tar::Builder::new(File::create(to)?);
    builder.follow_symlinks(false);
    builder.append_dir_all("", folder).with_context(|| to.display().to_string())?;
    Ok(builder.finish()?)
}

type Member = (Vec<u8>, Vec<u8>);

/// The files of the layout, in an order that does not change.
fn members(kit: &Kit) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for name in ["index.json", "oci-layout"] {
        members.push((name.into(), fs::read(kit.folder.join(name))?));
    }
    let mut blobs = Vec::new();
    for entry in fs::read_dir(kit.folder.join("blobs/sha256"))? {
        let entry = entry?;
        let name = format!("blobs/sha256/{}", entry.file_name().to_string_lossy());
        blobs.push((name.into_bytes(), fs::read(entry.path())?));
    }
    blobs.sort();
    members.extend(blobs);
    Ok(members)
}

fn header(name: &[u8], size: u64, kind: EntryType) -> Header {
    let mut header = Header::new_ustar();
    let field = &mut header.as_old_mut().name;
    for (to, from) in field.iter_mut().zip(name) {
        *to = *from;
    }
    header.set_mode(0o644);
    header.set_size(size);
    header.set_entry_type(kind);
    header.set_cksum();
    header
}

/// A member's blocks.
fn member(name: &[u8], bytes: &[u8], kind: EntryType) -> Vec<u8> {
    let mut blocks = header(name, bytes.len() as u64, kind).as_bytes().to_vec();
    blocks.extend(bytes);
    blocks.resize(blocks.len().next_multiple_of(512), 0);
    blocks
}

/// A record of an extended header.
fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n").into_bytes()
}

const FILE: EntryType = EntryType::Regular;
const PAX: EntryType = EntryType::XHeader;

/// The blocks in front of the good members, and a change of these.
type Front = fn(&[Member]) -> Vec<u8>;

fn link(name: &[u8], to: &str, kind: EntryType) -> Vec<u8> {
    let mut header = header(name, 0, kind);
    let _ = header.set_link_name(to);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// Each is put in front of a good archive.
const FRONTS: &[(&str, Front)] = &[
    ("parent", |_| member(b"../x", b"x", FILE)),
    ("parent-blob", |_| member(b"blobs/sha256/../../../x", b"x", FILE)),
    ("absolute", |_| member(b"/tmp/x", b"x", FILE)),
    ("symlink", |_| link(b"blobs/sha256/x", "../../index.json", EntryType::Symlink)),
    ("symlink-out", |_| link(b"blobs", "/etc", EntryType::Symlink)),
    ("hard-link", |_| link(b"x", "/etc/passwd", EntryType::Link)),
    ("device", |_| member(b"x", b"", EntryType::Char)),
    ("block-device", |_| member(b"x", b"", EntryType::Block)),
    ("fifo", |_| member(b"oci-layout", b"", EntryType::Fifo)),
    ("unknown-type", |_| member(b"x", b"", EntryType::new(b'Q'))),
    ("second-index.json", |_| member(b"index.json", b"{\"schemaVersion\":2,\"manifests\":[]}", FILE)),
    ("second-index.json-dot", |_| member(b"./index.json", b"{\"schemaVersion\":2,\"manifests\":[]}", FILE)),
    ("second-index.json-slashes", |_| member(b".//.//index.json", b"{}", FILE)),
    ("second-oci-layout", |_| member(b"oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}", FILE)),
    ("second-blob", |members| member(&members[2].0, b"others", FILE)),
    ("second-blob-same", |members| member(&members[2].0, &members[2].1, FILE)),
    ("index.json-folder", |_| member(b"index.json/", b"", EntryType::Directory)),
    ("index.json-below", |_| member(b"index.json/x", b"x", FILE)),
    ("blobs-file", |_| member(b"blobs", b"x", FILE)),
    ("folder-with-size", |_| member(b"x/", b"xyz", EntryType::Directory)),
    ("pax-size-small", |_| [member(b"p", &record("size", "0"), PAX), member(b"x", &[b'x'; 600], FILE)].concat()),
    ("pax-size-large", |_| [member(b"p", &record("size", "1024"), PAX), member(b"x", b"", FILE)].concat()),
    ("pax-size-twice", |_| {
        [member(b"p", &[record("size", "1"), record("size", "2")].concat(), PAX), member(b"x", b"x", FILE)].concat()
    }),
    ("pax-size-negative", |_| [member(b"p", &record("size", "-1"), PAX), member(b"x", b"x", FILE)].concat()),
    ("pax-size-text", |_| [member(b"p", &record("size", "1e1"), PAX), member(b"x", b"x", FILE)].concat()),
    ("pax-size-2-64", |_| {
        [member(b"p", &record("size", "18446744073709551615"), PAX), member(b"x", b"", FILE)].concat()
    }),
    ("pax-path-parent", |_| [member(b"p", &record("path", "../../x"), PAX), member(b"x", b"x", FILE)].concat()),
    ("pax-path-index.json", |_| [member(b"p", &record("path", "index.json"), PAX), member(b"x", b"{}", FILE)].concat()),
    ("pax-path-nul", |_| [member(b"p", &record("path", "a\0b"), PAX), member(b"x", b"x", FILE)].concat()),
    ("pax-sparse", |_| {
        let sparse = [record("GNU.sparse.major", "1"), record("GNU.sparse.realsize", "1099511627776")].concat();
        [member(b"p", &sparse, PAX), member(b"x", b"x", FILE)].concat()
    }),
    ("pax-length-wrong", |_| [member(b"p", b"999 size=1\n", PAX), member(b"x", b"x", FILE)].concat()),
    ("pax-no-number", |_| [member(b"p", b"size=1\n", PAX), member(b"x", b"x", FILE)].concat()),
    ("pax-1-MiB", |_| [member(b"p", &record("comment", &"x".repeat(1 << 20)), PAX), member(b"x", b"x", FILE)].concat()),
    ("pax-global-size", |_| member(b"p", &record("size", "1"), EntryType::XGlobalHeader)),
    ("pax-global-path", |_| member(b"p", &record("path", "index.json"), EntryType::XGlobalHeader)),
    ("gnu-long-name-parent", |_| {
        [member(b"././@LongLink", b"../../x\0", EntryType::GNULongName), member(b"x", b"x", FILE)].concat()
    }),
    ("gnu-long-name-1-MiB", |_| {
        let long = "a/".repeat(1 << 19).into_bytes();
        [member(b"././@LongLink", &long, EntryType::GNULongName), member(b"x", b"x", FILE)].concat()
    }),
    ("gnu-long-name-1-GiB-said", |_| header(b"././@LongLink", 1 << 30, EntryType::GNULongName).as_bytes().to_vec()),
    ("gnu-and-pax-name", |_| {
        let gnu = member(b"././@LongLink", b"a\0", EntryType::GNULongName);
        [gnu, member(b"p", &record("path", "b"), PAX), member(b"x", b"x", FILE)].concat()
    }),
    ("gnu-sparse", |_| {
        let mut header = Header::new_gnu();
        let _ = header.set_path("index.json");
        header.set_size(0);
        header.set_entry_type(EntryType::GNUSparse);
        header.set_cksum();
        header.as_bytes().to_vec()
    }),
    ("size-8-GiB-said", |_| header(b"x", (8 << 30) - 1, FILE).as_bytes().to_vec()),
    ("size-2-62-said", |_| header(b"x", 1 << 62, FILE).as_bytes().to_vec()),
    ("size-base-256-negative", |_| {
        let mut header = header(b"x", 0, FILE);
        header.as_old_mut().size = [0xff; 12];
        header.set_cksum();
        header.as_bytes().to_vec()
    }),
    ("size-base-256-96-bits", |_| {
        let mut header = header(b"x", 0, FILE);
        header.as_old_mut().size = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        header.set_cksum();
        header.as_bytes().to_vec()
    }),
    ("size-no-octal", |_| {
        let mut header = header(b"x", 0, FILE);
        header.as_old_mut().size = *b"9z999999999\0";
        header.set_cksum();
        header.as_bytes().to_vec()
    }),
    ("checksum-wrong", |_| {
        let mut header = header(b"x", 0, FILE);
        header.set_mtime(7);
        header.as_bytes().to_vec()
    }),
    ("escape-in-name", |_| member(b"../\x1b[2J\xe2\x80\xae\n", b"x", FILE)),
    ("not-utf-8-parent", |_| member(b"../\xff\xfe", b"x", FILE)),
    ("500-000-members", |_| header(b"x", 0, FILE).as_bytes().repeat(500_000)),
];

/// Archives as a whole.
type Whole = fn(Vec<u8>) -> Vec<u8>;

const WHOLES: &[(&str, Whole)] = &[
    ("empty", |_| Vec::new()),
    ("zeros", |_| vec![0; 10_240]),
    ("text", |_| b"no archive at all\n".repeat(100)),
    ("index.json-alone", |bytes| bytes[512..1024].to_vec()),
    ("cut-in-header", |bytes| bytes[..bytes.len() - 1024 - 1200].to_vec()),
    ("cut-300", |bytes| bytes[..300].to_vec()),
    ("gzip-cut", |bytes| {
        let packed = gzip(&bytes);
        packed[..packed.len() - 5].to_vec()
    }),
    ("gzip-of-gzip", |bytes| gzip(&gzip(&bytes))),
    ("gzip-checksum-wrong", |bytes| {
        let mut packed = gzip(&bytes);
        let at = packed.len() - 8;
        packed[at] ^= 1;
        packed
    }),
    ("gzip-of-1-GiB-of-zeros", |_| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let zeros = vec![0; 1 << 20];
        let front = [
            member(b"oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, FILE),
            header(b"x", 1 << 30, FILE).as_bytes().to_vec(),
        ];
        let _ = encoder.write_all(&front.concat());
        (0..1024)
            .try_for_each(|_| encoder.write_all(&zeros))
            .map_or_else(|_| Vec::new(), |()| encoder.finish().unwrap_or_default())
    }),
    ("bzip2", |_| b"BZh91AY&SY".to_vec()),
    ("zstd-not", |_| b"\x28\xb5\x2f\xfd and so on".to_vec()),
    ("in-itself", |bytes| [member(b"layout.tar", &bytes, FILE), vec![0; 1024]].concat()),
    ("one-bit", |mut bytes| {
        bytes[1024 + 512] ^= 1;
        bytes
    }),
];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

type Docker = (&'static str, &'static str, fn() -> Vec<u8>);

/// Archives of `docker save` that are none: the name, `manifest.json`, and what else there is beside `c.json`, the config of
/// one layer, and `l.tar`, the layer.
const DOCKERS: &[Docker] = &[
    ("no-list", r#"{"Config":"c.json"}"#, Vec::new),
    ("config-twice", r#"[{"Config":"c.json","RepoTags":["strange"],"config":"l.tar","Layers":["l.tar"]}]"#, Vec::new),
    ("config-absent", r#"[{"Config":"x.json","RepoTags":["strange"],"Layers":["l.tar"]}]"#, Vec::new),
    ("config-outside", r#"[{"Config":"../c.json","RepoTags":["strange"],"Layers":["l.tar"]}]"#, Vec::new),
    ("config-is-a-layer", r#"[{"Config":"l.tar","RepoTags":["strange"],"Layers":["l.tar"]}]"#, Vec::new),
    ("layer-absent", r#"[{"Config":"c.json","RepoTags":["strange"],"Layers":["x.tar"]}]"#, Vec::new),
    ("layer-absolute", r#"[{"Config":"c.json","RepoTags":["strange"],"Layers":["/etc/passwd"]}]"#, Vec::new),
    ("layer-other", r#"[{"Config":"c.json","RepoTags":["strange"],"Layers":["c.json"]}]"#, Vec::new),
    ("layers-too-many", r#"[{"Config":"c.json","RepoTags":["strange"],"Layers":["l.tar","l.tar"]}]"#, Vec::new),
    ("layers-none", r#"[{"Config":"c.json","RepoTags":["strange"],"Layers":null}]"#, Vec::new),
    ("layer-twice", LINKED, || member(b"1/layer.tar", b"x", FILE).repeat(2)),
    ("link-nowhere", LINKED, || link(b"1/layer.tar", "../2/layer.tar", EntryType::Symlink)),
    ("link-to-itself", LINKED, || link(b"1/layer.tar", "../1/layer.tar", EntryType::Symlink)),
    ("link-to-a-link", LINKED, || {
        [
            link(b"1/layer.tar", "../2/layer.tar", EntryType::Symlink),
            link(b"2/layer.tar", "../l.tar", EntryType::Symlink),
        ]
        .concat()
    }),
    ("link-out", LINKED, || link(b"1/layer.tar", "../../l.tar", EntryType::Symlink)),
    ("link-absolute", LINKED, || link(b"1/layer.tar", "/etc/layer.tar", EntryType::Symlink)),
    ("link-hard", LINKED, || link(b"1/layer.tar", "../l.tar", EntryType::Link)),
    ("link-elsewhere", r#"[{"Config":"c.json","RepoTags":["strange"],"Layers":["l.tar"]}]"#, || {
        link(b"x", "l.tar", EntryType::Symlink)
    }),
];

const LINKED: &str = r#"[{"Config":"c.json","RepoTags":["strange"],"Layers":["1/layer.tar"]}]"#;

/// An archive of `docker save`, in the order that tools write.
fn docker(manifest: &str, others: Vec<u8>) -> Vec<u8> {
    let layer = super::kit::hex(&Sha256::digest(b"a layer"));
    let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["sha256:{layer}"]}}}}"#);
    let files = [member(b"c.json", config.as_bytes(), FILE), member(b"l.tar", b"a layer", FILE)].concat();
    [files, others, member(b"manifest.json", manifest.as_bytes(), FILE), vec![0; 1024]].concat()
}

fn archive(members: &[Member]) -> Vec<u8> {
    let mut bytes: Vec<u8> = members.iter().flat_map(|(name, bytes)| member(name, bytes, FILE)).collect();
    bytes.extend([0; 1024]);
    bytes
}

/// All of them: the bad ones, and those that are unusual and good.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, front) in FRONTS {
        cases.push(Case::bad(format!("tar-{name}"), |_| Ok(())).archive(|kit, to| {
            let members = members(kit)?;
            Ok(fs::write(to, [front(&members), archive(&members)].concat())?)
        }));
        cases.push(Case::bad(format!("tar-gzip-{name}"), |_| Ok(())).archive(|kit, to| {
            let members = members(kit)?;
            Ok(fs::write(to, gzip(&[front(&members), archive(&members)].concat()))?)
        }));
    }
    for (name, manifest, others) in DOCKERS {
        cases.push(
            Case::bad(format!("docker-{name}"), |_| Ok(()))
                .archive(|_, to| Ok(fs::write(to, docker(manifest, others()))?)),
        );
        cases.push(
            Case::bad(format!("docker-gzip-{name}"), |_| Ok(()))
                .archive(|_, to| Ok(fs::write(to, gzip(&docker(manifest, others())))?)),
        );
    }
    for (name, whole) in WHOLES {
        cases.push(
            Case::bad(format!("tar-{name}"), |_| Ok(()))
                .archive(|kit, to| Ok(fs::write(to, whole(archive(&members(kit)?)))?)),
        );
    }
    cases.push(
        Case::bad("folder-as-archive", |kit| {
            // A folder that holds the archive, and is none.
            pack(&kit.folder, &kit.folder.with_extension("outside"))?;
            fs::remove_dir_all(&kit.folder)?;
            fs::create_dir(&kit.folder)?;
            Ok(fs::rename(kit.folder.with_extension("outside"), kit.folder.join("layout.tar"))?)
        })
        .folder_only(),
    );
    let good = |name: &str, make: fn(&[Member]) -> Vec<u8>| {
        Case::good(format!("tar-{name}"), |_| Ok(())).archive(move |kit, to| Ok(fs::write(to, make(&members(kit)?))?))
    };
    cases.push(good("gzip", |members| gzip(&archive(members))));
    cases.push(good("gzip-index.json-last", |members| {
        gzip(&archive(&members.iter().rev().cloned().collect::<Vec<_>>()))
    }));
    cases.push(good("index.json-last", |members| archive(&members.iter().rev().cloned().collect::<Vec<_>>())));
    cases.push(good("dots", |members| {
        let dotted = |(name, bytes): &Member| ([b"./", name.as_slice()].concat(), bytes.clone());
        archive(&members.iter().map(dotted).collect::<Vec<_>>())
    }));
    cases.push(good("pax-names", |members| {
        let long = |(name, bytes): &Member| {
            [member(b"p", &record("path", &String::from_utf8_lossy(name)), PAX), member(b"x", bytes, FILE)].concat()
        };
        [members.iter().flat_map(long).collect(), vec![0; 1024]].concat()
    }));
    cases.push(good("bytes-behind-the-end", |members| [archive(members), b"dear".repeat(1000)].concat()));
    cases.push(good("other-files", |members| [member(b"x/\xff", NAME.as_bytes(), FILE), archive(members)].concat()));
    cases
}
