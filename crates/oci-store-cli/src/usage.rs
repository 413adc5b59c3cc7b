use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::failure::{Failure, code};

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
    let text = error.render().to_string();
    // The first paragraph says what is wrong; tips may follow, then the usage.
    let said =
        text.split("\n\nUsage:").next().unwrap_or(&text).split("\n\nFor more information").next().unwrap_or(&text);
    let line: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let line = line.join(" ");
    Failure::new(code::USAGE, format!("{}; see --help", line.trim_start_matches("error: "))).report()
}
