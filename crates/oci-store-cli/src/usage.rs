use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args::Args;
use crate::failure::{Failure, code};

/// Commands of other tools, and what does the same here.
const TRIED: &[(&[&str], &str)] = &[
    (
        &["cp", "copy"],
        "`tag SOURCE REF` gives an image one more name; `export REF DIR` copies it out, and `import DIR` in",
    ),
    (&["load"], "`import FILE` takes what `docker save` writes, and `import -` takes it from stdin"),
    (&["save"], "`export REF FILE.tar` writes an archive, `export REF docker-archive:FILE` one for `docker load`"),
    (&["pull"], "`skopeo copy docker://IMAGE oci-archive:FILE` fetches an image, and `import FILE` takes it in"),
    (&["push"], "the store is an image layout: `skopeo copy oci:STORE:REF docker://IMAGE` takes it from there"),
    (&["history"], "`log` shows what changed which ref, and `inspect` what an image consists of"),
    (&["repair"], "`check --repair --from SOURCE` fetches what is missing or damaged"),
];

/// What clap has to say: help as it is, an error as one line like any other.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        let misused = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        return match error.print() {
            Err(failed) if failed.kind() != std::io::ErrorKind::BrokenPipe && !misused => {
                Failure::new(code::ERROR, format!("stdout: {failed}")).report()
            }
            _ => ExitCode::from(if misused { code::USAGE } else { 0 }),
        };
    }
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
        && is_command(word)
        && let Some((_, instead)) = TRIED.iter().find(|(tried, _)| tried.contains(&word.as_str()))
    {
        return Failure::new(code::USAGE, format!("{word}: {instead}")).report();
    }
    let text = error.render().to_string();
    // The first paragraph says what is wrong; tips may follow, then the usage.
    let said =
        text.split("\n\nUsage:").next().unwrap_or(&text).split("\n\nFor more information").next().unwrap_or(&text);
    let line: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line = line.join(" ").replace(" tip: ", "; ");
    Failure::new(code::USAGE, format!("{}; see --help", line.trim_start_matches("error: "))).report()
}

/// Whether a word stands where a command does, and not below one.
fn is_command(word: &str) -> bool {
    let before = std::env::args_os().skip(1).take_while(|given| given != word);
    let commands = Args::command();
    before.into_iter().all(|given| commands.find_subcommand(&given).is_none())
}
