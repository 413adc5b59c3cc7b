//! `data` and `blob-data`.

use std::io::Read;

use oci_store::{Condition, Space, base};
use serde_json::json;

use crate::args::{BlobDataCommand, DataCommand};
use crate::context::Context;
use crate::failure::{Failure, Result, code};
use crate::output;
use crate::table::table;

/// Values fetched at once.
const PAGE: usize = 1000;

pub(crate) fn data(context: &Context, command: DataCommand) -> Result<()> {
    let store = match command {
        DataCommand::Set { .. } => context.store_or_new()?,
        _ => context.store()?,
    };
    match command {
        DataCommand::Set { kind, key, value, blob, if_version } => {
            let value = read_value(value)?;
            let blob = blob.map(|blob| context.digest(&store, &blob)).transpose()?;
            let version = store
                .base()
                .update(|txn| txn.set_data(Space::User, &kind, &key, &value, blob.as_ref(), condition(if_version)))?;
            context.print_named("version", &json!({ "version": version }), || format!("{version}\n"))
        }
        DataCommand::Get { kind, key } => {
            let found = store.base().view(|view| view.data(Space::User, &kind, &key))?;
            let found = found.ok_or_else(|| absent(&kind, &key))?;
            output::print_bytes(&mut found.value.as_slice())
        }
        DataCommand::List { kind: None, .. } => {
            let kinds = store.base().view(|view| view.data_kinds(Space::User))?;
            context.print(&kinds, || kinds.iter().map(|kind| format!("{kind}\n")).collect())
        }
        DataCommand::List { kind: Some(kind), prefix } => {
            let mut found: Vec<base::Data> = Vec::new();
            loop {
                let after = found.last().map(|last| last.key.clone());
                let page =
                    store.base().view(|view| view.data_page(Space::User, &kind, &prefix, after.as_deref(), PAGE))?;
                let last = page.len() < PAGE;
                found.extend(page);
                if last {
                    break;
                }
            }
            let json: Vec<_> = found
                .iter()
                .map(|data| {
                    json!({ "key": data.key, "version": data.version, "size": data.value.len(),
                            "updated": data.updated, "blob": data.blob })
                })
                .collect();
            context.print_named("key", &json, || {
                let row = |data: &base::Data| {
                    let blob = data.blob.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
                    [data.key.escape_debug().to_string(), data.version.to_string(), data.value.len().to_string(), blob]
                };
                table(["KEY", "VERSION", "BYTES", "BLOB"], &found.iter().map(row).collect::<Vec<_>>())
            })
        }
        DataCommand::Rm { kind, key, if_version } => {
            let condition = condition(if_version);
            let old = store.base().update(|txn| txn.delete_data(Space::User, &kind, &key, condition))?;
            old.map(|_| ()).ok_or_else(|| absent(&kind, &key))
        }
    }
}

fn absent(kind: &str, key: &str) -> Failure {
    Failure::new(code::NOT_FOUND, format!("{kind} {key:?}: no such data"))
}

fn condition(if_version: Option<u64>) -> Condition {
    match if_version {
        None => Condition::Any,
        Some(0) => Condition::Absent,
        Some(version) => Condition::Version(version),
    }
}

fn read_value(value: String) -> Result<Vec<u8>> {
    if value != "-" {
        return Ok(value.into_bytes());
    }
    let mut bytes = Vec::new();
    match std::io::stdin().lock().read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure::new(code::ERROR, format!("stdin: {error}"))),
    }
}

pub(crate) fn blob_data(context: &Context, command: BlobDataCommand) -> Result<()> {
    let store = context.store()?;
    let digest = |blob: &str| context.digest(&store, blob);
    match command {
        BlobDataCommand::Set { blob, kind, value } => {
            let (digest, value) = (digest(&blob)?, read_value(value)?);
            Ok(store.base().update(|txn| txn.set_blob_data(&digest, &kind, &value))?)
        }
        BlobDataCommand::Get { blob, kind } => {
            let digest = digest(&blob)?;
            let found = store.base().view(|view| view.blob_data(&digest, &kind))?;
            let found = found.ok_or_else(|| absent(&digest.to_string(), &kind))?;
            output::print_bytes(&mut found.as_slice())
        }
        BlobDataCommand::List { blob } => {
            let digest = digest(&blob)?;
            let found = store.base().view(|view| view.blob_data_list(&digest))?;
            let json: Vec<_> = found.iter().map(|(kind, size)| json!({ "type": kind, "size": size })).collect();
            context.print_named("type", &json, || {
                let row = |(kind, size): &(String, u64)| [kind.escape_debug().to_string(), size.to_string()];
                table(["TYPE", "BYTES"], &found.iter().map(row).collect::<Vec<_>>())
            })
        }
        BlobDataCommand::Rm { blob, kind } => {
            let digest = digest(&blob)?;
            let was = store.base().update(|txn| txn.delete_blob_data(&digest, &kind))?;
            if was { Ok(()) } else { Err(absent(&digest.to_string(), &kind)) }
        }
    }
}
