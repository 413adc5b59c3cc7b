//! Bad descriptors: digests that are none, sizes that are none or not those, in every place where one can stand.

use anyhow::Result;
use serde_json::json;

use super::case::Case;
use super::kit::{Kit, LAYER, Place, with_field};

const HEX: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// What stands as a digest: a name for it, and the JSON text.
fn digests() -> Vec<(&'static str, String)> {
    let quoted = |text: &str| json!(text).to_string();
    let sha256 = |rest: &str| quoted(&format!("sha256:{rest}"));
    vec![
        ("parent", sha256("../../x")),
        ("parent-64", sha256(&format!("../../{}", &HEX[..58]))),
        ("path", quoted("../../etc/passwd")),
        ("absolute", quoted("/etc/passwd")),
        ("slash", sha256(&format!("{}/{}", &HEX[..31], &HEX[..32]))),
        ("backslash", sha256(&format!("{}\\{}", &HEX[..31], &HEX[..32]))),
        ("upper", sha256(&HEX.to_uppercase())),
        ("upper-name", quoted(&format!("SHA256:{HEX}"))),
        ("63", sha256(&HEX[..63])),
        ("65", sha256(&format!("{HEX}0"))),
        ("no-hash", sha256("")),
        ("no-name", quoted(&format!(":{HEX}"))),
        ("no-colon", quoted(HEX)),
        ("empty", quoted("")),
        ("colon", quoted(":")),
        ("dot-name", quoted(".:aaaa")),
        ("dots-name", quoted("..:aaaa")),
        ("non-hex", sha256(&"g".repeat(64))),
        ("nul", sha256(&format!("{}\0{}", &HEX[..31], &HEX[..32]))),
        ("newline", sha256(&format!("{HEX}\n"))),
        ("escape", sha256(&format!("\x1b[2J{}", &HEX[..60]))),
        ("bidi", sha256(&format!("\u{202e}{}", &HEX[..61]))),
        ("space", quoted(&format!(" sha256:{HEX}"))),
        ("twice", quoted(&format!("sha256:sha256:{HEX}"))),
        ("sha512-of-64", quoted(&format!("sha512:{HEX}"))),
        ("mebibyte", sha256(&"a".repeat(1 << 20))),
        ("number", "12".to_owned()),
        ("null", "null".to_owned()),
        ("list", format!("[{}]", sha256(HEX))),
    ]
}

/// Digests by algorithms that nobody here can compute: what they name can't be verified.
const UNKNOWN: &[&str] =
    &["md5:d41d8cd98f00b204e9800998ecf8427e", "sha256+b64u:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g", "x:y"];

const SIZES: &[(&str, &str)] = &[
    ("negative", "-1"),
    ("minus-zero", "-0"),
    ("zero", "0"),
    ("2-63-less-1", "9223372036854775807"),
    ("2-63", "9223372036854775808"),
    ("2-64-less-1", "18446744073709551615"),
    ("2-64", "18446744073709551616"),
    ("fraction", "1.5"),
    ("text", "\"12\""),
    ("exponent", "1e3"),
    ("huge-exponent", "1e400"),
    ("null", "null"),
    ("list", "[]"),
    ("true", "true"),
];

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for place in Place::ALL {
        for (name, text) in digests() {
            cases.push(Case::bad(format!("digest-{name}-{}", place.name()), move |kit| {
                place.put(kit, &with_field(&place.descriptor(kit)?, "digest", &text))
            }));
        }
        for (name, text) in SIZES {
            // What is about something that is not there is whole, whatever the size of that is said to be.
            if place == Place::Subject && text.parse::<i64>().is_ok_and(|size| size >= 0 && *text != "-0") {
                continue;
            }
            cases.push(Case::bad(format!("size-{name}-{}", place.name()), move |kit| {
                place.put(kit, &with_field(&place.descriptor(kit)?, "size", text))
            }));
        }
        for field in ["mediaType", "digest", "size"] {
            cases.push(Case::bad(format!("no-{field}-{}", place.name()), move |kit| {
                let mut descriptor = place.descriptor(kit)?;
                descriptor.as_object_mut().and_then(|fields| fields.remove(field));
                place.put(kit, &descriptor.to_string())
            }));
        }
        if place == Place::Subject {
            continue;
        }
        for (name, by) in [("less-1", -1), ("more-1", 1)] {
            cases.push(Case::bad(format!("size-{name}-{}", place.name()), move |kit| {
                let descriptor = place.descriptor(kit)?;
                let size = descriptor["size"].as_i64().unwrap_or_default() + by;
                place.put(kit, &with_field(&descriptor, "size", &size.to_string()))
            }));
        }
        for (n, digest) in UNKNOWN.iter().enumerate() {
            cases.push(Case::bad(format!("digest-unknown-{n}-{}", place.name()), move |kit| {
                unknown(kit, place, digest)
            }));
        }
    }
    cases.push(Case::bad("sizes-overflow", |kit| {
        let layers: Vec<_> = [1, 2, 3, 4]
            .iter()
            .map(|n| json!({ "mediaType": LAYER, "digest": format!("sha256:{}{n}", &HEX[..63]), "size": i64::MAX }))
            .collect();
        kit.list(&[kit.image_of(&kit.config()?, &layers)?])
    }));
    cases.push(Case::bad("two-sizes", |kit| {
        let layer = kit.layer(3)?;
        let mut other = layer.clone();
        other["size"] = json!(5);
        kit.list(&[kit.image_of(&kit.config()?, &[layer, other])?])
    }));
    cases
}

/// The bytes lie at the digest's place, so that only their verification can fail.
fn unknown(kit: &Kit, place: Place, digest: &str) -> Result<()> {
    let mut descriptor = place.descriptor(kit)?;
    let from = kit.path_of(&descriptor);
    descriptor["digest"] = json!(digest);
    let to = kit.path_of(&descriptor);
    std::fs::create_dir_all(to.parent().unwrap_or(&kit.folder))?;
    std::fs::copy(from, to)?;
    place.put(kit, &descriptor.to_string())
}
