//! What the program is made of, as CycloneDX 1.5.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, Package};
use serde_json::{Value, json};

use crate::workspace_root;

/// The bill of materials of the program `package` for `target`: the crates that are linked into it, with licences and checksums.
pub(super) fn of(metadata: &Metadata, package: &Package, target: &str) -> Result<Vec<u8>> {
    let sums = checksums()?;
    let linked = linked(target)?;
    let mut components: Vec<Value> = Vec::new();
    for other in &metadata.packages {
        let key = (other.name.to_string(), other.version.to_string());
        if other.id == package.id || !linked.contains(&key) {
            continue;
        }
        let mut component = json!({
            "type": "library",
            "name": key.0,
            "version": key.1,
            "purl": format!("pkg:cargo/{}@{}", key.0, key.1),
        });
        if let Some(license) = &other.license {
            component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
        }
        if let Some(sum) = sums.get(&key) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        components.push(component);
    }
    components.sort_by_key(|component| component["purl"].to_string());
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": {
            "type": "application",
            "name": "oci-store",
            "version": package.version.to_string(),
            "purl": format!("pkg:cargo/{}@{}", package.name, package.version),
            "licenses": [{ "expression": package.license }],
            "properties": [{ "name": "target", "value": target }],
        } },
        "components": components,
    });
    Ok(serde_json::to_vec_pretty(&bill)?)
}

/// Names and versions of what is linked in: what only builds or tests it is not in the program.
fn linked(target: &str) -> Result<Vec<(String, String)>> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--target", target]);
    command.args(["-p", super::PACKAGE, "--features", "lmdb,sqlite"]).current_dir(workspace_root());
    let text = String::from_utf8(super::output(&mut command)?)?;
    let split = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
    };
    text.lines().map(|line| split(line).with_context(|| line.to_owned())).collect()
}

/// The checksums that the lock file has of crates from the registry.
fn checksums() -> Result<BTreeMap<(String, String), String>> {
    let lock = std::fs::read_to_string(workspace_root().join("Cargo.lock"))?;
    let mut sums = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""))?;
            Some(line.trim_end_matches('"').to_owned())
        };
        if let (Some(name), Some(version), Some(sum)) = (field("name"), field("version"), field("checksum")) {
            sums.insert((name, version), sum);
        }
    }
    Ok(sums)
}
