use crate::{Error, Index, ReadTxn, Result, WriteTxn};

/// Transactions that return a value, and errors of the caller's own type.
pub trait IndexExt: Index {
    /// [`Index::view`], returning what `body` returns.
    ///
    /// # Errors
    /// What `body` returns, and what [`Index::view`] may.
    fn read<T, E: From<Error>>(&self, body: impl FnOnce(&dyn ReadTxn) -> Result<T, E>) -> Result<T, E> {
        let mut once = Once::new(body);
        let ran = self.view(&mut |txn| once.run(|body| body(txn)));
        once.outcome(ran)
    }

    /// [`Index::update`], returning what `body` returns. An error of `body` rolls back.
    ///
    /// # Errors
    /// What `body` returns, and what [`Index::update`] may.
    fn write<T, E: From<Error>>(&self, body: impl FnOnce(&mut dyn WriteTxn) -> Result<T, E>) -> Result<T, E> {
        let mut once = Once::new(body);
        let ran = self.update(&mut |txn| once.run(|body| body(txn)));
        once.outcome(ran)
    }
}

impl<I: Index + ?Sized> IndexExt for I {}

/// Carries a body into the closure of a transaction, and its outcome out.
struct Once<F, T, E> {
    body: Option<F>,
    outcome: Option<Result<T, E>>,
}

impl<F, T, E: From<Error>> Once<F, T, E> {
    fn new(body: F) -> Self {
        Self { body: Some(body), outcome: None }
    }

    /// A backend that runs a body twice (none should) gets an error, not a second run.
    fn run(&mut self, call: impl FnOnce(F) -> Result<T, E>) -> Result<()> {
        let outcome = call(self.body.take().ok_or(Error::Aborted)?);
        let ok = outcome.is_ok();
        self.outcome = Some(outcome);
        if ok { Ok(()) } else { Err(Error::Aborted) }
    }

    /// The body's own error wins; a failed commit wins over the body's success.
    fn outcome(self, ran: Result<()>) -> Result<T, E> {
        match (self.outcome, ran) {
            (Some(Err(own)), _) => Err(own),
            (_, Err(index)) => Err(index.into()),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(Error::Aborted.into()),
        }
    }
}
