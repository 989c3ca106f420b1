// SPDX-License-Identifier: GPL-2.0

//! Errors of the engine to errnos, and what a mount does about damage.
//!
//! The place that threw the error stays behind: it was logged where it matters (corruption), and a
//! caller in user space cannot use it.

use super::Inode;
use super::SuperBlock;
use crate::engine;
use crate::engine::faults::Reaction;
use crate::sys::Errno;
use kernel::error::Error;
use kernel::error::Result;

/// The way out of the engine.
pub trait Edge<T> {
    /// The errno for the VFS. Damage that was found makes `errors=` happen.
    fn edge(self, sb: &SuperBlock) -> Result<T>;

    /// [`Edge::edge`] for an operation on `inode`.
    fn at(self, inode: &Inode) -> Result<T>;
}

impl<T> Edge<T> for engine::error::Result<T> {
    fn edge(self, sb: &SuperBlock) -> Result<T> {
        self.map_err(|e| {
            damaged(sb, None, e);
            to_error(e)
        })
    }

    fn at(self, inode: &Inode) -> Result<T> {
        self.map_err(|e| {
            damaged(inode.sb(), Some(inode), e);
            to_error(e)
        })
    }
}

/// The errno of an error, where there is no super block yet.
pub fn to_error(e: engine::error::Error) -> Error {
    to_errno(e.errno())
}

/// An errno of the facade for the VFS.
pub fn to_errno(e: Errno) -> Error {
    Error::from_errno(e.raw().wrapping_neg())
}

/// If the error is damage on the device: reports it, and does what the mount option says. Any
/// context that may sleep.
fn damaged(sb: &SuperBlock, inode: Option<&Inode>, e: engine::error::Error) {
    if !e.is(Errno::UCLEAN) && !e.is(Errno::BADMSG) {
        return;
    }
    sb.report_damage(inode, to_error(e));
    let data = sb.data();
    match data.mount.reaction() {
        Reaction::Nothing => {}
        Reaction::ReadOnly => {
            if !sb.rdonly() {
                crate::sys::pr_err!("{}: made read-only after an error\n", sb.id());
                sb.set_rdonly();
            }
        }
        Reaction::Shutdown => data
            .mount
            .shutdown("an error in metadata (errors=shutdown)"),
        Reaction::Panic => crate::sys::halt("an error in metadata (errors=panic)"),
    }
}
