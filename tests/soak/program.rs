//! The same operations through the program, a process each; some are killed at any moment.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::outcome::{End, Outcome};
use crate::thread::Worker;

impl Worker {
    /// Runs a command; returns what it printed.
    pub(crate) fn program(&mut self, args: &[&str]) -> Outcome<Vec<u8>> {
        let mut command = Command::new(&self.job.program);
        command.arg("--store-path").arg(&self.job.store).args(args);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let kill = self.random.permille(40).then(|| Duration::from_micros(self.random.below(12_000)));
        if let Some(after) = kill {
            std::thread::sleep(after);
            child.kill()?;
        }
        let (stdout, stderr) = read(&mut child)?;
        let status = child.wait()?;
        if status.success() {
            return Ok(stdout);
        }
        if kill.is_some() && status.signal() == Some(9) {
            return Err(End::Killed);
        }
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        let [error] = errors[..] else {
            return Err(End::Bad(format!("{args:?}: {status}: {stderr:?} is not one error line")));
        };
        Err(match status.code() {
            Some(4) => End::Absent,
            Some(5) => End::Ambiguous,
            Some(1) if error.contains("already, or has changed meanwhile") || error.contains(": expected ") => {
                End::Conflict
            }
            _ => End::Bad(format!("{args:?}: {status}: {error}")),
        })
    }
}

/// Both pipes; a command that fails prints little.
fn read(child: &mut Child) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    if let Some(pipe) = &mut child.stdout {
        pipe.read_to_end(&mut stdout)?;
    }
    if let Some(pipe) = &mut child.stderr {
        pipe.read_to_end(&mut stderr)?;
    }
    Ok((stdout, stderr))
}
