//! Runs a program under ptrace, and asks at each of its system calls what is to become of it. All threads and children
//! are followed, and come in one sequence, as the kernel reports them.

mod call;
mod object;
mod registers;

use std::collections::HashMap;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

pub(crate) use call::{Call, Class};

/// What becomes of a system call that is about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is made.
    Go,
    /// The whole process group dies by SIGKILL before it is made.
    Kill,
    /// It is not made, and fails so.
    Fail(Errno),
    /// It is not made, and seems to have this result.
    Pretend(i64),
    /// It is made with its size, the argument of that number, reduced.
    Shorten { argument: usize, to: u64 },
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<Signal>,
    /// Whether that was asked for.
    pub(crate) killed: bool,
    /// Whether it took longer than it may.
    pub(crate) hung: bool,
    pub(crate) stderr: String,
}

/// Says so, if processes can't be traced here. Some containers forbid it; then there is nothing to attack with.
pub(crate) fn is_possible() -> std::result::Result<(), String> {
    if !registers::KNOWN {
        return Err("no registers are known of this kind of processor".to_owned());
    }
    let mut calls = 0;
    let run = run(&mut Command::new("/bin/true"), Duration::from_secs(10), &mut |_| {
        calls += 1;
        Answer::Go
    });
    match run {
        Ok(_) if calls > 0 => Ok(()),
        Ok(_) => Err("no system call was seen".to_owned()),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// Runs `command` to its end, but no longer than `limit`, and asks `answer` at each system call, in the order in which
/// they are made. Everything happens on the calling thread, which must have no other children meanwhile.
pub(crate) fn run(command: &mut Command, limit: Duration, answer: &mut dyn FnMut(&Call) -> Answer) -> Result<Ended> {
    let mut stderr = tempfile::tempfile().context("a file for what is said")?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr.try_clone()?).process_group(0);
    // SAFETY: between fork and exec, `traceme` makes one system call, allocates nothing and takes no lock.
    unsafe { command.pre_exec(|| ptrace::traceme().map_err(std::io::Error::from)) };
    let child = command.spawn().with_context(|| format!("can't be traced: {command:?}"))?;
    let main = Pid::from_raw(i32::try_from(child.id())?);
    match waitpid(main, None)? {
        WaitStatus::Stopped(..) => {}
        other => bail!("can't be traced: {other:?}"),
    }
    let follow = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK;
    ptrace::setoptions(
        main,
        follow | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL | Options::PTRACE_O_TRACESYSGOOD,
    )?;
    let (done, waits) = channel::<()>();
    let (mut ended, hung) = std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let late = waits.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
            if late {
                let _ = killpg(main, Signal::SIGKILL);
            }
            late
        });
        let ended = Tracer { main, changed: HashMap::new(), known: vec![main], killed: false, end: None }.run(answer);
        if ended.is_err() {
            // Nobody follows it any more.
            let _ = killpg(main, Signal::SIGKILL);
        }
        drop(done);
        (ended, watch.join().unwrap_or(false))
    });
    if let Ok(ended) = &mut ended {
        ended.hung = hung;
        stderr.rewind()?;
        let mut said = Vec::new();
        stderr.read_to_end(&mut said)?;
        ended.stderr = String::from_utf8_lossy(&said).into_owned();
    }
    ended
}

struct Tracer {
    main: Pid,
    /// Calls that were changed, and what is to be done when they return.
    changed: HashMap<Pid, Changed>,
    known: Vec<Pid>,
    killed: bool,
    end: Option<WaitStatus>,
}

enum Changed {
    Result(i64),
    /// A register of which the program believes that calls keep it.
    Argument(usize, u64),
}

/// What ptrace says of a stop at a call: before it, or after.
const ENTRY: u8 = 1;

impl Tracer {
    fn run(mut self, answer: &mut dyn FnMut(&Call) -> Answer) -> Result<Ended> {
        ptrace::syscall(self.main, None)?;
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
                Ok(status) => status,
                Err(Errno::ECHILD) => break,
                Err(Errno::EINTR | Errno::EINVAL) => continue,
                Err(error) => return Err(error).context("waitpid"),
            };
            match status {
                WaitStatus::PtraceSyscall(pid) => self.stopped(pid, answer)?,
                WaitStatus::PtraceEvent(pid, ..) => resume(pid, None)?,
                // A new thread or child begins with it.
                WaitStatus::Stopped(pid, Signal::SIGSTOP) if !self.known.contains(&pid) => {
                    self.known.push(pid);
                    resume(pid, None)?;
                }
                WaitStatus::Stopped(pid, signal) => resume(pid, Some(signal))?,
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid == self.main => {
                    self.end = Some(status);
                }
                _ => {}
            }
        }
        let (code, signal) = match self.end {
            Some(WaitStatus::Exited(_, code)) => (Some(code), None),
            Some(WaitStatus::Signaled(_, signal, _)) => (None, Some(signal)),
            _ => bail!("the end of {} was not seen", self.main),
        };
        Ok(Ended { code, signal, killed: self.killed, hung: false, stderr: String::new() })
    }

    fn stopped(&mut self, pid: Pid, answer: &mut dyn FnMut(&Call) -> Answer) -> Result<()> {
        let at = match ptrace::syscall_info(pid) {
            Ok(info) => info.op,
            Err(Errno::ESRCH) => return Ok(()),
            Err(error) => return Err(error).context("ptrace: syscall_info"),
        };
        let done = if at == ENTRY { self.entry(pid, answer) } else { self.exit(pid) };
        match done {
            Ok(true) => resume(pid, None),
            // Killed: whoever is resumed now might still make a call.
            Ok(false) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).context("ptrace"),
        }
    }

    /// Whether it goes on.
    fn entry(&mut self, pid: Pid, answer: &mut dyn FnMut(&Call) -> Answer) -> nix::Result<bool> {
        if self.killed {
            return Ok(false);
        }
        let mut registers = registers::get(pid)?;
        match answer(&Call::new(pid, registers::number(&registers), registers::arguments(&registers))) {
            Answer::Go => {}
            Answer::Kill => {
                self.killed = true;
                killpg(self.main, Signal::SIGKILL)?;
                return Ok(false);
            }
            Answer::Fail(error) => self.no_call(pid, registers, -(error as i64))?,
            Answer::Pretend(result) => self.no_call(pid, registers, result)?,
            Answer::Shorten { argument, to } => {
                let before = registers::arguments(&registers).get(argument).copied().unwrap_or_default();
                registers::set_argument(&mut registers, argument, to);
                registers::set(pid, registers)?;
                self.changed.insert(pid, Changed::Argument(argument, before));
            }
        }
        Ok(true)
    }

    fn no_call(&mut self, pid: Pid, mut registers: registers::Registers, result: i64) -> nix::Result<()> {
        registers::no_call(&mut registers);
        self.changed.insert(pid, Changed::Result(result));
        registers::set(pid, registers)
    }

    fn exit(&mut self, pid: Pid) -> nix::Result<bool> {
        if let Some(changed) = self.changed.remove(&pid) {
            let mut registers = registers::get(pid)?;
            match changed {
                Changed::Result(result) => registers::set_result(&mut registers, result),
                Changed::Argument(argument, before) => registers::set_argument(&mut registers, argument, before),
            }
            registers::set(pid, registers)?;
        }
        Ok(!self.killed)
    }
}

fn resume(pid: Pid, signal: Option<Signal>) -> Result<()> {
    match ptrace::syscall(pid, signal) {
        // It was killed meanwhile.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).context("ptrace: syscall"),
    }
}
