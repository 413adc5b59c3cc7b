//! A command that may not take for ever.

use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long any small command may take (I7). It takes milliseconds, and the machine may be busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// What is wrong whatever was asked: it hung, died by a signal, or panicked.
    pub(crate) wrong: Option<String>,
}

impl Ended {
    /// What is wrong if it was to succeed.
    pub(crate) fn failure(&self) -> Option<String> {
        let code = || format!("I7: exit code {:?}: {}", self.code, self.stderr.trim());
        self.wrong.clone().or_else(|| (self.code != Some(0)).then(code))
    }
}

/// Runs a command to its end, and ends it after [`LIMIT`].
pub(crate) fn run(command: &mut Command) -> Result<Ended> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn().with_context(|| format!("{command:?}"))?;
    let group = Pid::from_raw(i32::try_from(child.id())?);
    let (done, waits) = channel::<()>();
    let (output, hung) = std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let late = waits.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout);
            late.then(|| {
                let doing = doing(group);
                let _ = killpg(group, Signal::SIGKILL);
                doing
            })
        });
        let output = child.wait_with_output();
        drop(done);
        (output, watch.join().unwrap_or_default())
    });
    let output = output?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let wrong = if let Some(doing) = hung {
        Some(format!("I7: still at it after {} s, {doing}: {}", LIMIT.as_secs(), stderr.trim()))
    } else if let Some(signal) = output.status.signal() {
        Some(format!("I9: died by signal {signal}: {}", stderr.trim()))
    } else if stderr.contains("panicked at") {
        Some(format!("I9: {}", stderr.trim()))
    } else {
        None
    };
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(Ended { code: output.status.code(), stdout, stderr, wrong })
}

/// What the threads of a process are doing: the state of each, and the system call in which it is, as the kernel tells.
fn doing(process: Pid) -> String {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{process}/task")) else { return "gone".to_owned() };
    let look = |task: std::fs::DirEntry| {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let state = read("stat").rsplit(')').next().unwrap_or_default().trim().chars().next().unwrap_or('?');
        format!("{state} in {} {}", read("syscall").split_whitespace().next().unwrap_or("?"), read("wchan"))
    };
    tasks.flatten().map(look).collect::<Vec<_>>().join(", ")
}
