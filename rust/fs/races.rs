// SPDX-License-Identifier: GPL-2.0

//! Control of sync points and mutants, in builds with `--cfg latchfs_races` only.
//!
//! In debugfs: `latchfs/sync/control` takes one command a write (see
//! [`table`](crate::sys::sync_point::table)); the errno of the write says how it went.
//! `latchfs/sync/status` shows what is armed, hit and damaged, and
//! `latchfs/<device>/verify` what the observables of a mount are.

use crate::sys::sync_point::table;
use kernel::debugfs::Dir;
use kernel::debugfs::File;
use kernel::fmt;
use kernel::prelude::*;
use kernel::uaccess::UserSliceReader;

/// Bytes of the longest command.
const LONGEST: usize = 256;

/// The files. They go when it is dropped.
pub struct Control {
    _control: Pin<KBox<File<()>>>,
    _status: Pin<KBox<File<()>>>,
    _sync: Dir,
    _top: Dir,
}

impl Control {
    /// Makes the files. Errors: ENOMEM.
    pub fn new() -> Result<Self> {
        let top = Dir::new(c"latchfs");
        let sync = top.subdir(c"sync");
        let control = sync.write_callback_file(c"control", (), &command);
        let control = KBox::pin_init(control, GFP_KERNEL)?;
        let status = sync.read_callback_file(c"status", (), &status);
        let status = KBox::pin_init(status, GFP_KERNEL)?;
        Ok(Self {
            _control: control,
            _status: status,
            _sync: sync,
            _top: top,
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Nobody may be held in code that goes away.
        table::reset();
    }
}

fn command(_: &(), from: &mut UserSliceReader) -> Result {
    let mut line = [0; LONGEST];
    let len = from.len();
    let line = line.get_mut(..len).ok_or(EINVAL)?;
    from.read_slice(line)?;
    let line = core::str::from_utf8(line).map_err(|_| EINVAL)?;
    table::command(line).map_err(|errno| Error::from_errno(errno.raw().saturating_neg()))
}

fn status(_: &(), out: &mut fmt::Formatter<'_>) -> fmt::Result {
    table::status(out)
}
