// SPDX-License-Identifier: GPL-2.0

//! What is done about an error, by the mount option `errors=`.
//!
//! ext4's `ext4_handle_error()` decides the same; XFS knows shutdown only.

use super::OnError;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Metadata that was read is not what it should be, or cannot be read. What is in memory is
    /// right, and what was committed can still be written.
    Damage,
    /// What was committed cannot be written: the log failed, or a metadata write was given up.
    Lost,
}

/// What the file system does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// The operation that met the error fails, nothing else happens.
    Nothing,
    /// Nothing is changed any more (EROFS). What was committed before is still written.
    ReadOnly,
    /// Nothing works any more (EIO), and nothing is written.
    Shutdown,
    /// The machine goes down.
    Panic,
}

/// The decision. A file system whose committed changes are lost must not go on as if they had been
/// made, whatever the option says.
pub fn reaction(on_error: OnError, severity: Severity) -> Reaction {
    match (on_error, severity) {
        (OnError::Panic, _) => Reaction::Panic,
        (_, Severity::Lost) | (OnError::Shutdown, Severity::Damage) => Reaction::Shutdown,
        (OnError::ReadOnly, Severity::Damage) => Reaction::ReadOnly,
        (OnError::Continue, Severity::Damage) => Reaction::Nothing,
    }
}
