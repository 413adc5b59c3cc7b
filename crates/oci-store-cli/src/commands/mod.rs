mod blobs;
mod check;
mod data;
mod export;
mod find;
mod history;
mod image;
mod inspect;
mod places;
mod refs;
mod setup;
mod stats;
mod tree;
mod upkeep;
mod why;

use std::process::ExitCode;

use crate::args::{Args, Command};
use crate::context::Context;
use crate::failure::Result;

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let context = Context::new(args.global);
    dispatch(&context, args.command).map_err(|failure| failure.suggest(|error| crate::suggest::next(&context, error)))
}

fn dispatch(context: &Context, command: Command) -> Result<ExitCode> {
    match command {
        Command::Import(import) => image::import(context, import),
        Command::Export(export) => export::export(context, export),
        Command::Inventory => export::inventory(context),
        Command::List { prefix } => refs::list(context, &prefix),
        Command::Rm { flagged, refs } => refs::rm(context, flagged.into_iter().chain(refs)),
        Command::Tag { source, target, new } => refs::tag(context, &source, &target, new),
        Command::Rename { from, to } => refs::rename(context, &from, &to),
        Command::Log(args) => history::log(context, &args),
        Command::Undo(args) => history::undo(context, &args),
        Command::Pin { image: Some(image) } => refs::pin(context, &image),
        Command::Pin { image: None } => refs::pins(context),
        Command::Unpin { image } => refs::unpin(context, &image),
        Command::Gc { full, dry_run } => upkeep::gc(context, full, dry_run),
        Command::Check(check) if check.repair => return check::repair(context, &check.refs, &check.from),
        Command::Check(check) => return check::check(context, &check),
        Command::Prune(prune) => upkeep::prune(context, &prune),
        Command::Maintain { budget } => return upkeep::maintain(context, budget),
        Command::Inspect { image, raw } => inspect::inspect(context, &image, raw),
        Command::Cat { blob } => blobs::cat(context, &blob),
        Command::Resolve { prefix } => blobs::resolve(context, &prefix),
        Command::Blobs(filter) => blobs::list(context, &filter),
        Command::Tree(args) => tree::tree(context, &args),
        Command::Referrers(args) => tree::referrers(context, &args),
        Command::Diff(args) => find::diff(context, &args),
        Command::Find(args) => find::find(context, args),
        Command::Why(args) => why::why(context, &args),
        Command::Du(args) => stats::du(context, &args),
        Command::Stats => stats::stats(context),
        Command::Lease(command) => why::lease(context, &command),
        Command::Data(command) => data::data(context, command),
        Command::BlobData(command) => data::blob_data(context, command),
        Command::Adopt { verify, dir } => return upkeep::adopt(context, &dir, verify),
        Command::Reindex => return upkeep::reindex(context),
        Command::Index(command) => upkeep::index(context, command),
        Command::Completion { shell } => setup::completion(shell),
        Command::Man { dir } => setup::man(&dir),
        Command::Version => setup::version(context),
    }?;
    Ok(ExitCode::SUCCESS)
}
