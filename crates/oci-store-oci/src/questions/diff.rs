//! In what two images differ.

use std::collections::{BTreeSet, HashSet};

use oci_store_base::View;
use oci_store_cas::Digest;
use serde_json::{Map, Value};

use crate::closure::{Member, closure};
use crate::document::{MAX_DEPTH, Role, children};
use crate::media_type::{is_document, is_index};
use crate::source::read_document;
use crate::{Descriptor, Error, Result, Store, refs};

use super::config;
use super::usage::Amount;

/// In which of two images something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In both.
    Both,
    /// In the first alone.
    Old,
    /// In the second alone.
    New,
}

/// A layer, in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerDiff {
    /// Where it is.
    pub side: Side,
    /// The layer.
    pub layer: Descriptor,
}

/// A field of a config that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDiff {
    /// Its name: `User`, `Env.PATH`, `Labels.maintainer`.
    pub field: String,
    /// Its value in the first, if it has one.
    pub old: Option<Value>,
    /// Its value in the second.
    pub new: Option<Value>,
}

/// Two manifests for one platform, or one that the other image has none for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestDiff {
    /// The platform, as `os/architecture/variant`, if it is known.
    pub platform: Option<String>,
    /// The manifest in the first.
    pub old: Option<Digest>,
    /// The manifest in the second.
    pub new: Option<Digest>,
    /// The layers in order: where the two part, first those of the first, then those of the second.
    pub layers: Vec<LayerDiff>,
    /// What differs in their configs; history and layers aside.
    pub config: Vec<FieldDiff>,
}

/// In what two images differ.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diff {
    /// The first.
    pub old: Descriptor,
    /// The second.
    pub new: Descriptor,
    /// Blobs of both.
    pub both: Amount,
    /// Blobs of the first alone.
    pub only_old: Amount,
    /// Blobs of the second alone.
    pub only_new: Amount,
    /// By platform.
    pub manifests: Vec<ManifestDiff>,
}

impl Store {
    /// In what `new` differs from `old` (refs, digests, or beginnings of such): blobs, layers, and configs. Blobs that are
    /// not there, and what is about the images, don't count. Reads manifests and configs.
    ///
    /// # Errors
    /// [`Error::RefNotFound`], [`Ambiguous`](oci_store_base::Error::Ambiguous), that a document can't be read.
    pub fn diff(&self, old: &str, new: &str) -> Result<Diff> {
        let of = |view: View<'_>, text: &str| {
            let target = refs::find(view, text)?.0;
            let members = closure(view, &target.digest)?.members;
            Ok::<_, Error>((target, members))
        };
        let ((old, a), (new, b)) = self.base().view(|view| Ok::<_, Error>((of(view, old)?, of(view, new)?)))?;
        let digests = |members: &[Member]| members.iter().map(|member| member.digest.clone()).collect::<HashSet<_>>();
        let (in_a, in_b) = (digests(&a), digests(&b));
        let amount = |members: &[Member], wanted: &dyn Fn(&Digest) -> bool| {
            let mut amount = Amount::default();
            members.iter().filter(|member| wanted(&member.digest)).for_each(|member| amount += member.size);
            amount
        };
        let both = amount(&a, &|digest| in_b.contains(digest));
        let only_old = amount(&a, &|digest| !in_b.contains(digest));
        let only_new = amount(&b, &|digest| !in_a.contains(digest));
        let (mut olds, mut news) = (self.manifests(&old)?, self.manifests(&new)?);
        let mut manifests = Vec::new();
        if let ([one], [other]) = (olds.as_mut_slice(), news.as_mut_slice()) {
            // Whatever they are for, they are compared.
            one.platform.clone_from(&other.platform);
        }
        for one in olds {
            let at = news.iter().position(|other| other.platform == one.platform);
            let other = at.map(|at| news.remove(at));
            if other.as_ref().is_none_or(|other| other.digest != one.digest) {
                manifests.push(compare(Some(one), other));
            }
        }
        manifests.extend(news.into_iter().map(|other| compare(None, Some(other))));
        Ok(Diff { old, new, both, only_old, only_new, manifests })
    }

    /// The manifests of an image, each once.
    fn manifests(&self, root: &Descriptor) -> Result<Vec<Manifest>> {
        let source = self.as_source();
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        let mut stack = vec![(root.clone(), 0)];
        while let Some((descriptor, depth)) = stack.pop() {
            let is_read = is_document(&descriptor.media_type) && depth <= MAX_DEPTH;
            if !is_read || !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            let Some(bytes) = read_document(&source, &descriptor)? else { continue };
            let listed = children(&descriptor, &bytes)?;
            if is_index(&descriptor.media_type) {
                let below = listed.into_iter().rev().filter(|child| child.role == Role::Manifest);
                stack.extend(below.map(|child| (child.descriptor, depth + 1)));
                continue;
            }
            let mut manifest = Manifest {
                platform: descriptor.platform().as_ref().map(config::platform_text),
                digest: descriptor.digest,
                layers: Vec::new(),
                config: None,
            };
            for child in listed {
                match child.role {
                    Role::Config => manifest.config = config::read(&source, &child.descriptor)?,
                    Role::Layer | Role::Blob => manifest.layers.push(child.descriptor),
                    _ => {}
                }
            }
            if manifest.platform.is_none() {
                let platform = manifest.config.as_ref().and_then(config::platform_of);
                manifest.platform = platform.as_ref().map(config::platform_text);
            }
            found.push(manifest);
        }
        Ok(found)
    }
}

struct Manifest {
    platform: Option<String>,
    digest: Digest,
    layers: Vec<Descriptor>,
    config: Option<Value>,
}

fn compare(old: Option<Manifest>, new: Option<Manifest>) -> ManifestDiff {
    let platform = old.as_ref().or(new.as_ref()).and_then(|manifest| manifest.platform.clone());
    let digest = |manifest: &Option<Manifest>| manifest.as_ref().map(|manifest| manifest.digest.clone());
    let digests = (digest(&old), digest(&new));
    let parts =
        |manifest: Option<Manifest>| manifest.map(|manifest| (manifest.layers, manifest.config)).unwrap_or_default();
    let ((old_layers, old_config), (new_layers, new_config)) = (parts(old), parts(new));
    let config = match (&digests, &old_config, &new_config) {
        ((Some(_), Some(_)), Some(old), Some(new)) => config_diff(old, new),
        _ => Vec::new(),
    };
    ManifestDiff { platform, old: digests.0, new: digests.1, layers: layer_diff(old_layers, new_layers), config }
}

/// What both begin with and what both end with stays; layers lie on each other, so what is between has changed.
fn layer_diff(old: Vec<Descriptor>, new: Vec<Descriptor>) -> Vec<LayerDiff> {
    let same = |(a, b): &(&Descriptor, &Descriptor)| a.digest == b.digest;
    let begin = old.iter().zip(&new).take_while(same).count();
    let most = old.len().min(new.len()) - begin;
    let end = old.iter().rev().zip(new.iter().rev()).take(most).take_while(same).count();
    let (old_end, new_end) = (old.len() - end, new.len() - end);
    let mut layers = Vec::new();
    let mut last = Vec::new();
    for (at, layer) in old.into_iter().enumerate() {
        let side = if at < begin || at >= old_end { Side::Both } else { Side::Old };
        if at >= old_end { &mut last } else { &mut layers }.push(LayerDiff { side, layer });
    }
    let changed = new.into_iter().take(new_end).skip(begin);
    layers.extend(changed.map(|layer| LayerDiff { side: Side::New, layer }));
    layers.extend(last);
    layers
}

fn config_diff(old: &Value, new: &Value) -> Vec<FieldDiff> {
    let (old, new) = (fields(old), fields(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = names.into_iter().filter(|name| old.get(*name) != new.get(*name));
    differing
        .map(|name| FieldDiff { field: name.clone(), old: old.get(name).cloned(), new: new.get(name).cloned() })
        .collect()
}

/// A config's fields by name; of maps and of the environment, each entry.
fn fields(config: &Value) -> Map<String, Value> {
    let mut fields = Map::new();
    let own = config.as_object().into_iter().flatten();
    for (name, value) in own.filter(|(name, _)| !matches!(name.as_str(), "config" | "history" | "rootfs")) {
        fields.insert(name.clone(), value.clone());
    }
    for (name, value) in config.get("config").and_then(Value::as_object).into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::Object(entries) => {
                fields.extend(entries.iter().map(|(key, value)| (format!("{name}.{key}"), value.clone())));
            }
            Value::Array(entries) if name == "Env" => {
                for entry in entries.iter().filter_map(Value::as_str) {
                    let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
                    fields.insert(format!("{name}.{key}"), Value::from(value));
                }
            }
            value => drop(fields.insert(name.clone(), value.clone())),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use oci_store_cas::{Algorithm, Hasher};
    use serde_json::json;

    use super::*;

    fn layers(text: &str) -> Vec<Descriptor> {
        let of = |byte: u8| {
            let mut hasher = Hasher::new(Algorithm::Sha256).unwrap();
            hasher.update(&[byte]);
            Descriptor::new("layer", hasher.finish(), u64::from(byte))
        };
        text.bytes().map(of).collect()
    }

    #[test]
    fn layers_are_told_in_their_order() {
        for (old, new, wanted) in [
            ("", "", ""),
            ("abc", "abc", " a b c"),
            ("abc", "abd", " a b-c+d"),
            ("ab", "abc", " a b+c"),
            ("abc", "xbc", "-a+x b c"),
            ("aa", "aaa", " a a+a"),
            ("abcd", "acd", " a-b c d"),
            ("", "a", "+a"),
            ("a", "", "-a"),
            ("abc", "cab", "-a-b-c+c+a+b"),
        ] {
            let told: String = layer_diff(layers(old), layers(new))
                .iter()
                .map(|layer| {
                    let mark = match layer.side {
                        Side::Both => ' ',
                        Side::Old => '-',
                        Side::New => '+',
                    };
                    format!("{mark}{}", char::from(u8::try_from(layer.layer.size).unwrap()))
                })
                .collect();
            assert_eq!(told, wanted, "{old} to {new}");
        }
    }

    #[test]
    fn configs_differ_by_field_and_entry() {
        let old = json!({ "os": "linux", "history": [1], "config": {
            "Env": ["A=1", "B=2", "C"], "Labels": { "x": "1" }, "Entrypoint": ["/a"], "Volumes": null,
        } });
        let new =
            json!({ "os": "linux", "config": { "Env": ["B=3", "A=1"], "Labels": { "y": "1" }, "Entrypoint": ["/b"] } });
        let told: Vec<_> = config_diff(&old, &new)
            .into_iter()
            .map(|field| {
                format!("{} {:?} {:?}", field.field, field.old.map(|v| v.to_string()), field.new.map(|v| v.to_string()))
            })
            .collect();
        assert_eq!(
            told,
            [
                r#"Entrypoint Some("[\"/a\"]") Some("[\"/b\"]")"#,
                r#"Env.B Some("\"2\"") Some("\"3\"")"#,
                r#"Env.C Some("\"\"") None"#,
                r#"Labels.x Some("\"1\"") None"#,
                r#"Labels.y None Some("\"1\"")"#,
            ]
        );
    }
}
