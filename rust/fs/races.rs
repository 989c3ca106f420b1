// SPDX-License-Identifier: GPL-2.0

//! Control of sync points and mutants, in builds with `--cfg latchfs_races` only.
//!
//! In debugfs, and the errno of a write says how it went:
//!
//! * `latchfs/sync/control` takes one command a write (see
//!   [`table`](crate::sys::sync_point::table));
//! * `latchfs/sync/status` shows what is armed, hit and damaged;
//! * `latchfs-<device>/verify` shows the observables of a mount;
//! * `latchfs-<device>/probe` does what no system call does, or not at a moment of one's choice:
//!   `push` (asks for everything to be written to its place), `shrink` (reclaims buffers), `drain`
//!   (metadata goes to the first free blocks again), `hold
//!   BLOCK` (takes a reference to a cached buffer), `put` (gives it back), `look BLOCK` (EUCLEAN if
//!   its buffer is neither dirty nor under writeback).

use crate::engine::buf::BufRef;
use crate::engine::mount::Mount;
use crate::format::DiskBlock;
use crate::format::Lsn;
use crate::sys::sync_point::table;
use crate::sys::Arc;
use crate::sys::Mutex;
use kernel::debugfs::Dir;
use kernel::debugfs::File;
use kernel::fmt;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::str::CString;
use kernel::uaccess::UserSliceReader;

/// Bytes of the longest command.
const LONGEST: usize = 256;

crate::sys::lock_class! {
    /// The reference that a probe holds. Nothing is taken under it.
    ProbeLock = "latchfs-probe", rank 1;
}

/// The files of the module. They go when it is dropped.
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

/// What was written, as text in `line`.
fn text<'a>(from: &mut UserSliceReader, line: &'a mut [u8; LONGEST]) -> Result<&'a str> {
    let line = line.get_mut(..from.len()).ok_or(EINVAL)?;
    from.read_slice(line)?;
    core::str::from_utf8(line).map_err(|_| EINVAL)
}

fn command(_: &(), from: &mut UserSliceReader) -> Result {
    let mut line = [0; LONGEST];
    let line = text(from, &mut line)?;
    table::command(line).map_err(|errno| Error::from_errno(errno.raw().saturating_neg()))
}

fn status(_: &(), out: &mut fmt::Formatter<'_>) -> fmt::Result {
    table::status(out)
}

/// A mount, and a reference to one of its buffers.
struct Probe {
    m: Arc<Mount>,
    held: Mutex<Option<BufRef>, ProbeLock>,
}

/// The files of a mount. They go when it is dropped.
pub struct MountFiles {
    _verify: Pin<KBox<File<Arc<Mount>>>>,
    _probe: Pin<KBox<File<Probe>>>,
    _dir: Dir,
}

impl MountFiles {
    /// Makes the files of `m` on the device called `id`. Errors: ENOMEM.
    pub fn new(m: &Arc<Mount>, id: &CStr) -> Result<Self> {
        let name = CString::try_from_fmt(fmt!("latchfs-{}", id))?;
        let dir = Dir::new(&name);
        let verify = dir.read_callback_file(c"verify", m.clone(), &verify);
        let verify = KBox::pin_init(verify, GFP_KERNEL)?;
        let data = Probe {
            m: m.clone(),
            held: Mutex::new(None),
        };
        let probe = KBox::pin_init(dir.write_callback_file(c"probe", data, &probe), GFP_KERNEL)?;
        Ok(Self {
            _verify: verify,
            _probe: probe,
            _dir: dir,
        })
    }
}

fn verify(m: &Arc<Mount>, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(out, "{}", m.observe())
}

fn probe(probe: &Probe, from: &mut UserSliceReader) -> Result {
    let mut line = [0; LONGEST];
    let mut words = text(from, &mut line)?.split_ascii_whitespace();
    let what = words.next();
    let number = words.next().and_then(|n| n.parse().ok());
    let find = || {
        number
            .and_then(|n| probe.m.buf().cached(DiskBlock(n)))
            .ok_or(ENOENT)
    };
    match what {
        Some("push") => {
            probe.m.ask_push(Lsn(u64::MAX));
        }
        Some("shrink") => {
            probe.m.buf().reclaim(usize::MAX);
        }
        Some("drain") => {
            probe.m.alloc().forget_pools().map_err(|_| EUCLEAN)?;
        }
        Some("hold") => {
            let new = find()?;
            let old = probe.held.lock().replace(new);
            drop(old);
        }
        Some("put") => {
            let held = probe.held.lock().take();
            drop(held.ok_or(ENOENT)?);
        }
        Some("look") => {
            if !find()?.is_unwritten() {
                return Err(EUCLEAN);
            }
        }
        _ => return Err(EINVAL),
    }
    Ok(())
}
