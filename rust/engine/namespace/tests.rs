// SPDX-License-Identifier: GPL-2.0

//! The namespace against a naive model, and what the model does not know: space, orphans, threads.

#[cfg(unit_tests)]
mod faults;
#[cfg(unit_tests)]
mod figures;
mod model;
#[cfg(unit_tests)]
mod oracle;
#[cfg(all(latchfs_races, not(any(feature = "shuttle", feature = "loom"))))]
mod races;
#[cfg(feature = "shuttle")]
mod schedules;
#[cfg(unit_tests)]
mod space;
#[cfg(unit_tests)]
mod storm;
#[cfg(unit_tests)]
mod verbs;

use super::*;
use crate::engine::{
    inode::{self, InodeRef},
    mount::Mount,
    testing::{check, Fixture},
};
use crate::sys::{Arc, Device, Time};

/// Some moment.
fn at(secs: i64) -> Time {
    Time {
        secs,
        nanos: (secs.unsigned_abs() % 1_000_000_000) as u32,
    }
}

fn new_file() -> NewInode {
    NewInode {
        mode: 0o100644,
        now: at(10),
        ..NewInode::default()
    }
}

fn new_dir() -> NewInode {
    NewInode {
        mode: 0o040755,
        now: at(10),
        ..NewInode::default()
    }
}

fn root(m: &Arc<Mount>) -> InodeRef {
    inode::iget(m, m.root_ino()).unwrap()
}

/// Unmounts, checks every structure on the device, mounts again.
fn remount(f: &mut Fixture) -> check::Summary {
    f.m.unmount().unwrap();
    let dev = Device::new(f.disk.clone(), false);
    let sum = check::check(&dev, false).unwrap();
    f.m = Fixture::mount(&f.disk);
    sum
}

/// Drops a reference as the VFS does.
fn put(m: &Arc<Mount>, inode: InodeRef) {
    inactivate_later(m, inode);
}

fn errno<T>(r: crate::engine::Result<T>) -> crate::sys::Errno {
    match r {
        Ok(_) => panic!("it works"),
        Err(e) => e.errno(),
    }
}
