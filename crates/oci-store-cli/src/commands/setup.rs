//! `completion`, `man`, `version`: for who installs the program, and for programs that call it.

use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use serde_json::json;

use crate::args::{self, Shell};
use crate::context::Context;
use crate::failure::{Failure, Result, code};
use crate::{complete, output};

/// The version of what `--format json` and `jsonl` print: see `docs/output.md`.
const OUTPUT: u32 = 1;

pub(crate) fn completion(shell: Shell) -> Result<()> {
    output::print(&complete::script(shell).map_err(|error| Failure::new(code::ERROR, error))?)
}

pub(crate) fn man(dir: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Failure::new(code::ERROR, format!("{}: {error}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut command = args::with_help().disable_help_subcommand(true);
    command.build();
    write_pages(command, dir).map_err(failed)
}

fn write_pages(command: Command, dir: &Path) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_pages(below.clone(), dir)?;
    }
    let more = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let page = Man::new(command.after_help(None));
    let mut bytes = Vec::new();
    page.render(&mut bytes)?;
    section_of(&more).to_writer(&mut bytes)?;
    std::fs::write(dir.join(page.get_filename()), bytes)
}

/// What help says last, its first paragraph as a section of a page: as it stands there, line by line.
fn section_of(more: &str) -> Roff {
    let mut section = Roff::new();
    let mut lines = more.lines().take_while(|line| !line.is_empty());
    if let Some(title) = lines.next() {
        let title = if title == args::EXIT_CODES { "EXIT STATUS" } else { "EXAMPLES" };
        section.control("SH", [title]).control("nf", []);
        lines.for_each(|line| {
            section.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
        });
        section.control("fi", []);
    }
    section
}

pub(crate) fn version(context: &Context) -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let indexes: Vec<&str> = oci_store::backends().iter().map(|backend| backend.name()).collect();
    let format = oci_store::base::FORMAT;
    let json = json!({ "version": version, "output": OUTPUT, "storeFormat": format, "indexes": indexes });
    context.print_named("version", &json, || {
        let indexes = indexes.join(", ");
        format!("oci-store {version}\noutput {OUTPUT}\nstore format {format}\nindexes {indexes}\n")
    })
}
