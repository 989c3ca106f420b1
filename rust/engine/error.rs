// SPDX-License-Identifier: GPL-2.0

//! The error of rings 0 and 1.
//!
//! An [`Error`] is an errno and the place that threw it. The place is the identity of the error: it
//! is unique, costs nothing, and is what the log line of a failed operation names. Ring 3 passes
//! the errno on and drops the rest.

use crate::sys::Errno;
use core::fmt;
use core::panic::Location;

/// Why an operation failed, and where that was found out.
#[derive(Clone, Copy)]
pub struct Error {
    errno: Errno,
    at: &'static Location<'static>,
}

/// Result of an engine function.
pub type Result<T = ()> = core::result::Result<T, Error>;

impl Error {
    /// An error thrown by the caller of this function.
    #[track_caller]
    pub fn new(errno: Errno) -> Self {
        Self {
            errno,
            at: Location::caller(),
        }
    }

    /// Corruption found in `what` at device block `block`: logs it and gives EUCLEAN.
    #[track_caller]
    pub fn corrupt(block: u64, what: &str) -> Self {
        let e = Self::new(Errno::UCLEAN);
        crate::sys::pr_err!("corruption in block {}: {} ({})\n", block, what, e);
        e
    }

    /// The errno for the caller outside of the engine.
    pub fn errno(self) -> Errno {
        self.errno
    }

    /// Line of the place that threw it: the code in error records.
    pub fn line(self) -> u32 {
        self.at.line()
    }

    /// Whether this is `errno`.
    pub fn is(self, errno: Errno) -> bool {
        self.errno == errno
    }
}

impl From<Errno> for Error {
    #[track_caller]
    fn from(errno: Errno) -> Self {
        Self::new(errno)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}:{}", self.errno, self.at.file(), self.at.line())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
