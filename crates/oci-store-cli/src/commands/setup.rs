//! `completion`, `man`, `version`: for who installs the program, and for programs that call it.

use std::path::Path;

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
    clap_mangen::generate_to(args::with_help(), dir).map_err(failed)
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

/// `cp` might be either of two commands.
pub(crate) fn cp() -> Result<()> {
    let what = "cp: in this store `tag SOURCE REF` gives an image one more name; `export REF DIR` copies it out, and \
                `import DIR` in";
    Err(Failure::new(code::USAGE, what))
}
