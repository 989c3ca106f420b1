// SPDX-License-Identifier: GPL-2.0

//! Errors of the engine to errnos. The place that threw the error stays behind: it was logged
//! where it matters (corruption), and a caller in user space cannot use it.

use crate::engine;
use crate::sys::Errno;
use kernel::error::Error;

impl From<engine::error::Error> for Error {
    fn from(e: engine::error::Error) -> Self {
        to_error(e.errno())
    }
}

/// An errno as the kernel crate's error.
pub fn to_error(errno: Errno) -> Error {
    Error::from_errno(errno.raw().wrapping_neg())
}
