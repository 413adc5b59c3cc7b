//! How an operation ended.

use std::error::Error as StdError;

use oci_store::{Error, base};

/// Something that should not have happened, in the worker or in the store.
pub(crate) type Failed = Box<dyn StdError + Send + Sync>;

/// Other ends than success.
#[derive(Debug)]
pub(crate) enum End {
    /// What it was about is not there.
    Absent,
    /// A condition did not hold.
    Conflict,
    /// Several blobs begin so.
    Ambiguous,
    /// The process that did it was killed by us: it has taken effect, or not, or will.
    Killed,
    /// An error that it must not give.
    Bad(String),
}

pub(crate) type Outcome<T = ()> = Result<T, End>;

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            Error::RefNotFound(_) | Error::Base(base::Error::BlobNotFound(_)) => Self::Absent,
            Error::RefConflict(_) | Error::Base(base::Error::Conflict { .. }) => Self::Conflict,
            Error::Base(base::Error::Ambiguous { .. }) => Self::Ambiguous,
            other => Self::Bad(other.to_string()),
        }
    }
}

impl From<base::Error> for End {
    fn from(error: base::Error) -> Self {
        Error::Base(error).into()
    }
}

impl From<oci_store::cas::Error> for End {
    fn from(error: oci_store::cas::Error) -> Self {
        Error::Cas(error).into()
    }
}

impl From<oci_store::cas::InvalidDigest> for End {
    fn from(error: oci_store::cas::InvalidDigest) -> Self {
        Self::Bad(error.to_string())
    }
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Bad(error.to_string())
    }
}

/// The end of an operation on an image that is named by its digest. It may have no ref, and be half collected just then:
/// a gc takes its blobs in no order that anybody may rely on.
pub(crate) fn by_digest<T>(outcome: Outcome<T>) -> Outcome<T> {
    outcome.map_err(|end| match end {
        End::Bad(why) if why.contains(" missing, needed by ") => End::Absent,
        end => end,
    })
}

impl End {
    /// Its word in the record.
    pub(crate) fn word(&self) -> String {
        match self {
            Self::Absent => "absent".to_owned(),
            Self::Conflict => "conflict".to_owned(),
            Self::Ambiguous => "ambiguous".to_owned(),
            Self::Killed => "killed".to_owned(),
            Self::Bad(why) => format!("BAD {}", why.replace('\n', " / ")),
        }
    }
}
