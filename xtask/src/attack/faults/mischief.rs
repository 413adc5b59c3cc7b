//! What can go wrong with a system call.

use nix::errno::Errno;

use crate::attack::trace::{Answer, Call, Class};

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mischief {
    Fails(Errno),
    /// Less is read or written than was asked for.
    Short,
}

use Mischief::{Fails, Short};

/// All that can go wrong with a call. Each is something that a filesystem may answer.
pub(super) fn all(call: &Call) -> Vec<Mischief> {
    let mut all: Vec<Mischief> = match call.class() {
        Some(Class::Open) => vec![Fails(Errno::EIO), Fails(Errno::EACCES), Fails(Errno::EMFILE), Fails(Errno::EINTR)],
        Some(Class::Read) => vec![Fails(Errno::EIO), Fails(Errno::EINTR), Short],
        Some(Class::Write | Class::Copy) => {
            vec![Fails(Errno::EIO), Fails(Errno::ENOSPC), Fails(Errno::EDQUOT), Fails(Errno::EINTR), Short]
        }
        Some(Class::Sync) => {
            vec![Fails(Errno::EIO), Fails(Errno::ENOSPC), Fails(Errno::EDQUOT), Fails(Errno::EINTR)]
        }
        Some(Class::Rename | Class::Link | Class::Mkdir) => {
            vec![Fails(Errno::EIO), Fails(Errno::ENOSPC), Fails(Errno::EDQUOT), Fails(Errno::EACCES)]
        }
        Some(Class::Unlink | Class::Mode) => vec![Fails(Errno::EIO), Fails(Errno::EACCES)],
        Some(Class::Truncate) => vec![Fails(Errno::EIO), Fails(Errno::ENOSPC), Fails(Errno::EINTR)],
        Some(Class::Map) => vec![Fails(Errno::ENOMEM), Fails(Errno::EACCES)],
        Some(Class::Lock) if call.releases() => vec![],
        Some(Class::Lock) => vec![Fails(Errno::EINTR), Fails(Errno::ENOLCK)],
        Some(Class::Stat) => vec![Fails(Errno::EIO), Fails(Errno::EACCES)],
        Some(Class::List) => vec![Fails(Errno::EIO)],
        Some(Class::Clone) => vec![Fails(Errno::EIO), Fails(Errno::ENOSPC)],
        None => vec![],
    };
    if call.creates() {
        all.extend([Fails(Errno::ENOSPC), Fails(Errno::EDQUOT)]);
    }
    all.retain(|mischief| *mischief != Short || size(call).is_some_and(|(_, size)| size > 1));
    all
}

impl Mischief {
    /// What is done to a call. `hidden`: it is not made, and the program is told that it was, as if it had not looked.
    pub(super) fn answer(self, call: &Call, hidden: bool) -> Answer {
        match (self, size(call)) {
            (Fails(_), size) if hidden => Answer::Pretend(size.map_or(0, |(_, size)| size.cast_signed())),
            (Fails(error), _) => Answer::Fail(error),
            // What is written is halved; of what is read, how much there is isn't known.
            (Short, Some((argument, size))) if call.class() != Some(Class::Read) => {
                Answer::Shorten { argument, to: size / 2 }
            }
            (Short, Some((argument, _))) => Answer::Shorten { argument, to: 1 },
            (Short, None) => Answer::Go,
        }
    }
}

/// How many bytes a call is to read or write, and which argument says so.
fn size(call: &Call) -> Option<(usize, u64)> {
    let argument = match call.name() {
        "read" | "pread64" | "write" | "pwrite64" => 2,
        "sendfile" => 3,
        "copy_file_range" => 4,
        _ => return None,
    };
    call.arguments.get(argument).map(|size| (argument, *size))
}
