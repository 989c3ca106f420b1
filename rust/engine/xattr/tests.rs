// SPDX-License-Identifier: GPL-2.0

//! Attributes: each rule of xattr(7) ([`verbs`]), forms and collisions ([`forms`]), against a map,
//! with crashes ([`model`]), damaged ones ([`hostile`]).

mod forms;
mod hostile;
mod model;
mod verbs;

use super::*;
use crate::engine::{
    inode,
    namespace::{self, Change, NewInode},
    testing::{
        check::{self, Values},
        Fixture,
    },
};
use crate::format::limits::MAX_ATTR_VALUE;
use crate::sys::{Device, Time};
use std::cell::Cell;
use std::vec::Vec;

std::thread_local! {
    static SAME_HASH: Cell<bool> = const { Cell::new(false) };
}

/// Inside [`with_one_hash`] all names have one of two hashes.
pub(super) fn forced_hash(name: &[u8]) -> Option<u32> {
    SAME_HASH
        .get()
        .then(|| 77 + u32::from(name.first() == Some(&b'~')))
}

/// Runs `f` with names that collide.
fn with_one_hash(f: impl FnOnce()) {
    SAME_HASH.set(true);
    f();
    SAME_HASH.set(false);
}

fn user(name: &[u8]) -> Name<'_> {
    Name::new(AttrSpace::User, name)
}

fn root(m: &Arc<Mount>) -> InodeRef {
    inode::iget(m, m.root_ino()).unwrap()
}

fn file(m: &Arc<Mount>, name: &[u8]) -> InodeRef {
    let new = NewInode {
        mode: 0o100644,
        ..NewInode::default()
    };
    namespace::create(m, &root(m), name, &new).unwrap()
}

fn unlink(m: &Arc<Mount>, name: &[u8], inode: InodeRef) {
    namespace::unlink(m, &root(m), name, &inode, Time::default()).unwrap();
    namespace::inactivate_later(m, inode);
    namespace::inodegc_flush(m).unwrap();
}

fn put_attr(m: &Arc<Mount>, inode: &InodeRef, name: Name<'_>, value: &[u8]) -> Result {
    set(m, inode, name, value, How::Any, &Change::default())
}

fn del_attr(m: &Arc<Mount>, inode: &InodeRef, name: Name<'_>) -> Result {
    remove(m, inode, name, &Change::default())
}

fn value_of(m: &Arc<Mount>, inode: &InodeRef, name: Name<'_>) -> Result<Vec<u8>> {
    let len = get(m, inode, name, &mut [])?;
    let mut out = vec![0; len];
    assert_eq!(get(m, inode, name, &mut out)?, len);
    Ok(out)
}

/// All attributes by the engine.
fn all(m: &Arc<Mount>, inode: &InodeRef) -> Values {
    let mut names = Vec::new();
    list(m, inode, |space, name| names.push((space, name.to_vec()))).unwrap();
    let mut values = Values::new();
    for (space, name) in names {
        let value = value_of(m, inode, Name::new(space, &name)).unwrap();
        assert!(
            values.insert((space, name), value).is_none(),
            "listed twice"
        );
    }
    values
}

/// Bytes that tell where they belong.
fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8 ^ seed).collect()
}

fn form(inode: &InodeRef) -> ForkFormat {
    inode.ilock.read().attrs.format
}

/// Unmounts, checks every structure on the device, mounts again.
fn remount(f: &mut Fixture) -> check::Summary {
    f.m.unmount().unwrap();
    let dev = Device::new(f.disk.clone(), false);
    let sum = check::check(&dev, false).unwrap();
    f.m = Fixture::mount(&f.disk);
    sum
}

fn errno<T>(r: Result<T>) -> Errno {
    match r {
        Ok(_) => panic!("it works"),
        Err(e) => e.errno(),
    }
}
