//! `why`, `lease`.

use std::time::{SystemTime, UNIX_EPOCH};

use oci_store::base::{LeaseInfo, Link, Step};
use oci_store::oci::Role;
use oci_store::oci::questions::{Holder, Path};
use serde_json::{Value, json};

use crate::args::{LeaseCommand, Why};
use crate::context::Context;
use crate::failure::{Failure, Result, code};
use crate::output::{self, short};
use crate::table::table;

pub(crate) fn why(context: &Context, args: &Why) -> Result<()> {
    let kept = context.store()?.why(&args.blob, args.limit)?;
    let paths: Vec<Value> = kept.paths.iter().map(to_json).collect();
    let is_kept = !kept.paths.is_empty() || kept.more > 0;
    let json = json!({
        "digest": kept.digest, "kept": is_kept, "paths": paths, "more": kept.more, "uncounted": kept.uncounted,
    });
    context.print(&json, || {
        if !is_kept {
            return String::new();
        }
        let rows: Vec<_> = kept.paths.iter().map(|path| [holder(&path.holder), steps(&path.steps)]).collect();
        let more = match (kept.more, kept.uncounted) {
            (0, false) => String::new(),
            (more, uncounted) => {
                let least = if uncounted { "at least " } else { "" };
                format!("and {least}{}\n", output::count(more, "more path"))
            }
        };
        table(["KEPT BY", "PATH"], &rows) + &more
    })?;
    if is_kept {
        return Ok(());
    }
    let why = format!("{}: nothing keeps it: the next gc takes it", kept.digest);
    Err(Failure::new(code::UNKEPT, why))
}

fn holder(holder: &Holder) -> String {
    match holder {
        Holder::Ref(name) => format!("ref {name}"),
        Holder::Pin => "pin".to_owned(),
        Holder::Lease(lease) => {
            let pid = lease.pid().map_or_else(String::new, |pid| format!(" of process {pid}"));
            format!("{}{pid}", lease.purpose())
        }
    }
}

/// What a blob is to the one before it.
fn role(step: &Step) -> Option<&'static str> {
    match step.link? {
        Link::Follows => Some("referrer"),
        _ => step.role.and_then(Role::from_code).map(Role::name),
    }
}

fn steps(steps: &[Step]) -> String {
    let text = |step: &Step| match role(step) {
        Some(role) => format!("{role} {}", short(&step.digest)),
        None => short(&step.digest),
    };
    steps.iter().map(text).collect::<Vec<_>>().join(" > ")
}

fn to_json(path: &Path) -> Value {
    let steps: Vec<_> = path.steps.iter().map(|step| json!({ "digest": step.digest, "role": role(step) })).collect();
    match &path.holder {
        Holder::Ref(name) => json!({ "ref": name, "path": steps }),
        Holder::Pin => json!({ "pin": true, "path": steps }),
        Holder::Lease(lease) => json!({ "lease": lease_json(lease), "path": steps }),
    }
}

fn lease_json(lease: &LeaseInfo) -> Value {
    json!({ "id": lease.id, "live": lease.live, "pid": lease.pid(), "purpose": lease.purpose(), "made": made(lease) })
}

/// In seconds since 1970.
fn made(lease: &LeaseInfo) -> Option<u64> {
    let since = |made: SystemTime| made.duration_since(UNIX_EPOCH).ok();
    lease.made.and_then(since).map(|since| since.as_secs())
}

pub(crate) fn lease(context: &Context, command: &LeaseCommand) -> Result<()> {
    let LeaseCommand::Ls = command;
    let mut leases = context.store()?.base().look_at_leases()?;
    leases.sort_by(|a, b| (a.made, &a.id).cmp(&(b.made, &b.id)));
    let json = |lease: &LeaseInfo| {
        let mut json = lease_json(lease);
        json["blobs"] = Value::from(lease.digests.len());
        json
    };
    context.print_named("id", &leases.iter().map(json).collect::<Vec<_>>(), || {
        let row = |lease: &LeaseInfo| {
            let pid = lease.pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            let state = if lease.live { "live" } else { "dead" };
            let made = made(lease).map_or_else(|| "-".to_owned(), output::ago);
            [lease.id.clone(), state.to_owned(), pid, lease.purpose().to_owned(), made, lease.digests.len().to_string()]
        };
        table(["LEASE", "OWNER", "PID", "FOR", "MADE", "BLOBS"], &leases.iter().map(row).collect::<Vec<_>>())
    })
}
