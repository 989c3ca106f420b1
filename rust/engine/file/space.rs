// SPDX-License-Identifier: GPL-2.0

//! What write(2) does about ENOSPC.

use crate::{
    engine::{inode::Inode, mount::Mount},
    sys::Arc,
};

/// How far the attempts of one write have come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt(u8);

/// What the caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Start writeback of this file and try again: delayed data reserves for the worst case, written
    /// data has what it has.
    FlushFile,
    /// Start writeback of the file system and try again.
    FlushFs,
    /// Try again.
    Again,
    /// There is no space.
    Full,
}

/// A write found no space: does what may bring some, in order of cost, or says what the caller
/// should do (rules M23). Called without i_rwsem, until it says [`Space::Full`]. Deleted files give
/// back their blocks, and a checkpoint makes freed blocks usable. Not for faults, not for writeback.
/// May sleep.
pub fn make_space(m: &Arc<Mount>, _inode: &Inode, attempt: &mut Attempt) -> Space {
    let step = attempt.0;
    attempt.0 = step.saturating_add(1);
    match step {
        0 => Space::FlushFile,
        1 | 3 => Space::FlushFs,
        2 | 4 => match m.sync() {
            Ok(()) => Space::Again,
            Err(_) => Space::Full,
        },
        _ => Space::Full,
    }
}
