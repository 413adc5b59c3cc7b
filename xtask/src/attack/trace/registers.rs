//! Where the processor has a system call's number, arguments and result.

#[cfg(target_arch = "x86_64")]
mod processor {
    use nix::libc::user_regs_struct;
    use nix::sys::ptrace;
    use nix::unistd::Pid;

    pub(crate) const KNOWN: bool = true;

    pub(crate) type Registers = user_regs_struct;

    pub(crate) fn get(pid: Pid) -> nix::Result<Registers> {
        ptrace::getregs(pid)
    }

    pub(crate) fn set(pid: Pid, registers: Registers) -> nix::Result<()> {
        ptrace::setregs(pid, registers)
    }

    pub(crate) fn number(registers: &Registers) -> i64 {
        registers.orig_rax.cast_signed()
    }

    pub(crate) fn arguments(registers: &Registers) -> [u64; 6] {
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9]
    }

    /// Makes a call that is about to be made none.
    pub(crate) fn no_call(registers: &mut Registers) {
        registers.orig_rax = u64::MAX;
    }

    pub(crate) fn set_result(registers: &mut Registers, result: i64) {
        registers.rax = result.cast_unsigned();
    }

    pub(crate) fn set_argument(registers: &mut Registers, argument: usize, value: u64) {
        let places = [
            &mut registers.rdi,
            &mut registers.rsi,
            &mut registers.rdx,
            &mut registers.r10,
            &mut registers.r8,
            &mut registers.r9,
        ];
        if let Some(place) = places.into_iter().nth(argument) {
            *place = value;
        }
    }
}

/// Of other processors nothing is known, and nothing is traced.
#[cfg(not(target_arch = "x86_64"))]
mod processor {
    use nix::errno::Errno;
    use nix::unistd::Pid;

    pub(crate) const KNOWN: bool = false;

    pub(crate) type Registers = ();

    pub(crate) fn get(_: Pid) -> nix::Result<Registers> {
        Err(Errno::ENOSYS)
    }

    pub(crate) fn set(_: Pid, (): Registers) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }

    pub(crate) fn number((): &Registers) -> i64 {
        -1
    }

    pub(crate) fn arguments((): &Registers) -> [u64; 6] {
        [0; 6]
    }

    pub(crate) fn no_call((): &mut Registers) {}

    pub(crate) fn set_result((): &mut Registers, _: i64) {}

    pub(crate) fn set_argument((): &mut Registers, _: usize, _: u64) {}
}

pub(super) use processor::*;
