//! `oci-store`: import, list, export, check and clean up OCI images in a store that many processes share.

mod args;
mod commands;
mod complete;
mod context;
mod failure;
mod interrupt;
mod listing;
mod output;
mod picture;
mod progress;
mod reader;
mod suggest;
mod table;
mod usage;

use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

fn main() -> ExitCode {
    interrupt::outlive_file_limit();
    complete::answer();
    let matches = args::Args::command().try_get_matches().or_else(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            args::with_help().try_get_matches()
        }
        // What the environment says is no word of the line: without one, help is what is wanted.
        ErrorKind::MissingSubcommand => args::with_help().mut_args(|arg| arg.env(Resettable::Reset)).try_get_matches(),
        _ => Err(error),
    });
    let args = match matches.and_then(|matches| args::Args::from_arg_matches(&matches)) {
        Ok(args) => args,
        Err(error) => return usage::report(&error),
    };
    tracing_subscriber::fmt()
        .with_writer(|| output::PlainLines(progress::Stderr))
        .without_time()
        .with_target(false)
        // Where stderr takes nothing, that could not be told either.
        .log_internal_errors(false)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(args.global.log_level())),
        )
        .init();
    match commands::run(args) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
