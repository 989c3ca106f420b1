// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: user, trusted, security, POSIX ACLs.
//!
//! An inode with few attributes has them in its slot, behind the data fork; one with more has a
//! tree of [`Attrs`] records. Keys are made like those of directories: a seeded hash of the name
//! and a disambiguator, the lowest that no other attribute of that hash has. A value that does not
//! fit in a record is in blocks of its own kind, up to 17 of them; they are metadata, logged and
//! checksummed like any other, and there with the commit that makes the attribute.
//!
//! An attribute is replaced in one transaction: after a crash there is the old value or the new
//! one. The attributes a new inode begins with (inherited ACLs, labels of security modules) are
//! written by the transaction that makes it, so it is never seen without them.
//!
//! * this file: reading;
//! * `change`: [`set`], [`remove`], [`set_acl`];
//! * `initial`: attributes of a new inode;
//! * `free`: the end of an inode;
//! * `inline`: records in the inode;
//! * `value`: blocks of large values.
//!
//! # Locks
//!
//! The ILOCK: shared for reading, exclusively until commit for changes. Everything may sleep.
//!
//! # Errors
//!
//! Those of xattr(7): ENODATA, EEXIST, ERANGE, E2BIG, ENOSPC; EINVAL for a name that no attribute
//! can have; EROFS, EIO, ENOMEM, EUCLEAN, EBADMSG as everywhere.
//!
//! Compare XFS's `xfs_attr`, which has three forms where this has two.

mod change;
mod free;
mod initial;
mod inline;
mod value;

#[cfg(all(test, unit_tests))]
mod tests;

pub use self::change::{remove, set, set_acl, How};
pub use self::initial::InitAttr;

pub(crate) use self::free::free_all;
pub(crate) use self::initial::{initial_res, set_initial};
// The models are built without the test that lists reservations.
#[cfg(test)]
#[allow(unused_imports)]
pub(crate) use self::{
    change::{REMOVE, SET_LARGE, SET_SMALL},
    free::FREE_STEP,
};

use self::value::Runs;
use crate::{
    engine::{
        btree::{Attrs, Tree},
        error::{Error, Result},
        fork::ForkFormat,
        inode::{InodeInner, InodeRef},
        mount::Mount,
    },
    format::{
        hash::{first_key, key, key_disambiguator, key_hash, DISAMBIGUATOR_MAX},
        header::Owner,
        limits::LITERAL_SIZE,
        units::Ino,
        xattr::{attr_hash, fork::attr_start, Attr, AttrSpace, AttrValue},
    },
    sys::{Arc, Errno, NofsScope},
};
use core::ops::ControlFlow;

/// Name of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// Name space, which stands for the prefix.
    pub space: AttrSpace,
    /// What follows the prefix; empty for an ACL.
    pub name: &'a [u8],
}

impl<'a> Name<'a> {
    /// The name `name` in `space`.
    pub const fn new(space: AttrSpace, name: &'a [u8]) -> Self {
        Self { space, name }
    }

    /// EINVAL if no attribute can have the name.
    fn check(self) -> Result {
        if !self.space.name_is_legal(self.name) {
            return Err(Error::new(Errno::INVAL));
        }
        Ok(())
    }
}

/// An attribute that was found.
struct Found {
    key: u64,
    /// Bytes of its record.
    record: usize,
    /// Its value's blocks, if it is in blocks.
    runs: Runs,
}

/// Where a name is, or the key it would get.
enum Place {
    Taken(Found),
    Free(u64),
}

fn tree(ino: Ino) -> Tree<Attrs> {
    Tree::new(Owner::inode(ino))
}

/// Whether the tests of this module make the hashes of this thread.
#[cfg(test)]
pub(crate) fn tests_force_hashes() -> bool {
    #[cfg(unit_tests)]
    let forced = tests::forced_hash(b"").is_some();
    #[cfg(not(unit_tests))]
    let forced = false;
    forced
}

/// The hash of a name in this file system.
fn hash_of(m: &Mount, name: Name<'_>) -> u32 {
    #[cfg(all(test, unit_tests))]
    if let Some(hash) = tests::forced_hash(name.name) {
        return hash;
    }
    attr_hash(m.hash_seed(), name.space, name.name)
}

/// Calls `f` with each attribute from key `from` on, in key order, until it breaks. `f` must not
/// sleep.
fn scan<B>(
    m: &Mount,
    ino: Ino,
    inner: &InodeInner,
    from: u64,
    mut f: impl FnMut(Attr<'_>) -> ControlFlow<B>,
) -> Result<Option<B>> {
    match inner.attrs.format {
        ForkFormat::None => Ok(None),
        ForkFormat::InlineAttrs => Ok(inline::scan(&inner.attrs.inline, from, f)),
        ForkFormat::AttrTree => tree(ino).scan(m, &inner.attrs.root, from, &mut f),
        _ => Err(Error::new(Errno::UCLEAN)),
    }
}

/// Looks for a name among those of its hash; on the way finds the lowest free disambiguator.
#[inline(never)]
fn find(m: &Mount, ino: Ino, inner: &InodeInner, name: Name<'_>) -> Result<Place> {
    let hash = hash_of(m, name);
    let mut free = 0;
    let found = scan(m, ino, inner, first_key(hash), |attr| {
        if key_hash(attr.key) != hash {
            return ControlFlow::Break(None);
        }
        if attr.is(name.space, name.name) {
            return ControlFlow::Break(Some(Found {
                key: attr.key,
                record: attr.record_len(),
                runs: Runs::of(&attr),
            }));
        }
        if key_disambiguator(attr.key) == free {
            free += 1;
        }
        ControlFlow::Continue(())
    })?;
    match found.flatten() {
        Some(found) => Ok(Place::Taken(found)),
        None if free > DISAMBIGUATOR_MAX => Err(Error::new(Errno::NOSPC)),
        None => Ok(Place::Free(key(hash, free))),
    }
}

/// Fails with ESTALE if the inode's last use has ended.
fn check_live(inner: &InodeInner) -> Result {
    if inner.core.mode == 0 {
        return Err(Error::new(Errno::STALE));
    }
    Ok(())
}

/// Whether the inode has attributes at all. Takes the ILOCK shared.
pub fn has_any(inode: &InodeRef) -> bool {
    inode.ilock.read().attrs.format != ForkFormat::None
}

/// Copies the value of an attribute to the beginning of `out` and returns its length; with an empty
/// `out` only the length. Takes the ILOCK shared. ENODATA; ERANGE if `out` is too short.
pub fn get(m: &Arc<Mount>, inode: &InodeRef, name: Name<'_>, out: &mut [u8]) -> Result<usize> {
    name.check()?;
    let _nofs = NofsScope::enter();
    let inner = inode.ilock.read();
    check_live(&inner)?;
    let hash = hash_of(m, name);
    // A value in its record is copied under the content lock of the leaf: `out` is the kernel's.
    let mut short = false;
    let found = scan(m, inode.ino, &inner, first_key(hash), |attr| {
        if key_hash(attr.key) != hash {
            return ControlFlow::Break(None);
        }
        if !attr.is(name.space, name.name) {
            return ControlFlow::Continue(());
        }
        if let AttrValue::Here(value) = attr.value {
            match out.get_mut(..value.len()) {
                Some(to) => to.copy_from_slice(value),
                None => short = true,
            }
        }
        ControlFlow::Break(Some((attr.key, attr.len, Runs::of(&attr))))
    })?;
    let (key, len, runs) = found.flatten().ok_or(Error::new(Errno::NODATA))?;
    let bytes = len as usize;
    if out.is_empty() {
        return Ok(bytes);
    }
    let out = out.get_mut(..bytes).filter(|_| !short);
    let out = out.ok_or(Error::new(Errno::RANGE))?;
    if !runs.is_empty() {
        value::read(m, inode.ino, key, &runs, out)?;
    }
    Ok(bytes)
}

/// Calls `f` with the name of each attribute, in no order that means anything. `f` must not sleep
/// and not touch user memory. Takes the ILOCK shared.
pub fn list(m: &Arc<Mount>, inode: &InodeRef, mut f: impl FnMut(AttrSpace, &[u8])) -> Result {
    let _nofs = NofsScope::enter();
    let inner = inode.ilock.read();
    check_live(&inner)?;
    scan(m, inode.ino, &inner, 0, |attr| {
        if let Some(space) = attr.space() {
            f(space, attr.name);
        }
        ControlFlow::<()>::Continue(())
    })?;
    Ok(())
}

impl InodeInner {
    /// Tells the data fork how much of the literal area it may use, after the attribute fork has
    /// changed.
    pub(crate) fn share_literal(&mut self) {
        let room = match self.attrs.format {
            ForkFormat::InlineAttrs => attr_start(self.attrs.inline.len()),
            _ => LITERAL_SIZE,
        };
        self.data.limit = room as u16;
    }
}
