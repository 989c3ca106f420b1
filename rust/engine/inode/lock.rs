// SPDX-License-Identifier: GPL-2.0

//! Several ILOCKs at once.
//!
//! ILOCKs are taken by ascending inode number, at most four of existing inodes, with lockdep
//! subclasses in that order; the ILOCK of a new inode is taken last, with a subclass of its own,
//! because its number is known late and nobody else can know the inode yet.

use super::{Inode, InodeInner};
use crate::sys::{RwSemReadGuard, RwSemWriteGuard};
use core::cmp::Ordering;

/// ILOCK held shared.
pub type InodeRead<'a> = RwSemReadGuard<'a, InodeInner>;
/// ILOCK held exclusively.
pub type InodeWrite<'a> = RwSemWriteGuard<'a, InodeInner>;

/// Lockdep subclass of the ILOCK of an inode that is just being made.
pub(crate) const NEST_NEW: u32 = 5;

/// Locks two different inodes exclusively, the one with the smaller number first; returns the
/// guards in the order of the arguments. `None` for the second when both are the same inode.
/// May sleep.
pub fn lock_two<'a>(a: &'a Inode, b: &'a Inode) -> (InodeWrite<'a>, Option<InodeWrite<'a>>) {
    match a.ino.cmp(&b.ino) {
        Ordering::Less => {
            let a = a.ilock.write();
            let b = b.ilock.write_nested(1);
            (a, Some(b))
        }
        Ordering::Equal => (a.ilock.write(), None),
        Ordering::Greater => {
            let b = b.ilock.write();
            let a = a.ilock.write_nested(1);
            (a, Some(b))
        }
    }
}

/// Locks up to four inodes exclusively, by ascending number; each inode once. The guards come back
/// in the order of the arguments; the second and later occurrences of an inode give `None`, like
/// arguments that are `None`. May sleep.
pub(crate) fn lock_many<'a, const N: usize>(
    inodes: [Option<&'a Inode>; N],
) -> [Option<InodeWrite<'a>>; N] {
    let mut guards: [Option<InodeWrite<'a>>; N] = [const { None }; N];
    let mut last = None;
    let mut nest = 0;

    loop {
        // The smallest number above the last one: N is 4 at most, a sort would be longer.
        let mut next: Option<(usize, &'a Inode)> = None;
        for (i, inode) in inodes.iter().enumerate() {
            let Some(inode) = *inode else { continue };
            let above = last.is_none_or(|l| inode.ino > l);
            if above && next.is_none_or(|(_, n)| inode.ino < n.ino) {
                next = Some((i, inode));
            }
        }
        let Some((i, inode)) = next else {
            return guards;
        };
        if let Some(slot) = guards.get_mut(i) {
            *slot = Some(inode.ilock.write_nested(nest));
        }
        last = Some(inode.ino);
        nest += 1;
    }
}
