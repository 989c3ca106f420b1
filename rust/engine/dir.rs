// SPDX-License-Identifier: GPL-2.0

//! Directories: names to inode numbers.
//!
//! A directory is a sorted list of entries. The key is a 32-bit hash of the name, keyed with the
//! file system's random seed, and 31 bits that tell names of one hash apart: the lowest number no
//! other of them has, found by the very scan that looks whether the name is there already. The key
//! is the readdir cookie; it never changes while the entry exists.
//!
//! A small directory lives in its inode, a larger one in a tree of [`Dirents`]. Records, keys and
//! order are the same in both, so a directory may change its form between two calls of readdir
//! and nobody sees it. It becomes a tree when an entry does not fit in the inode any more, and
//! moves back when what is left fills half of that room.
//!
//! "." and ".." are not entries. The inode knows its parent.
//!
//! * `inline`: entries in the inode;
//! * [`buffer`]: copies of entries for readdir;
//! * [`position`]: positions for readers that have 32 bits only.
//!
//! # Locks
//!
//! All functions work on the fork of one directory: its ILOCK is held shared for reading, and
//! exclusively until commit for changes. They may sleep.
//!
//! # Cost
//!
//! Everything costs one descent of the tree (three or four blocks for 100,000 names) and is linear
//! in the number of names of the same hash, of which there are no more than chance gives: nobody
//! knows the seed. ext4's hashed directories and XFS's leaf blocks get at the same from other
//! sides; both keep a second structure for free space, which a tree of entries does not need.

pub mod buffer;
mod inline;
pub mod position;

#[cfg(all(test, unit_tests))]
mod tests;

use core::ops::ControlFlow;

use crate::engine::{
    btree::{
        self,
        Dirents,
        Spot,
        Tree, //
    },
    error::{
        Error,
        Result, //
    },
    fork::{
        Fork,
        ForkFormat, //
    },
    mount::Mount,
    txn::Txn,
};
use crate::format::{
    dirent::{
        self,
        Dirent,
        FileType,
        MAX_DIRENT, //
    },
    hash::{
        first_key,
        key,
        key_disambiguator,
        key_hash,
        name_hash,
        DISAMBIGUATOR_MAX, //
    },
    header::Owner,
    limits::MAX_NAME,
    units::{
        DiskBlock,
        Ino, //
    },
};
use crate::sys::{
    self,
    Errno, //
};

pub use self::buffer::EntryBuf;

/// Blocks [`insert`] allocates at most.
pub const INSERT_BLOCKS: u32 = btree::INSERT_BLOCKS;
/// Buffers [`insert`] changes at most.
pub const INSERT_BUFS: u32 = btree::INSERT_BUFS;
/// Buffers [`remove`] changes at most.
pub const REMOVE_BUFS: u32 = btree::REMOVE_BUFS;
/// Blocks [`remove`] frees at most.
pub const REMOVE_FREES: u32 = btree::REMOVE_FREES;
/// Buffers [`replace`] changes at most.
pub const REPLACE_BUFS: u32 = 1;

/// What the operations on a directory need to know beside its fork.
#[derive(Clone, Copy, Debug)]
pub struct Ctx {
    /// The directory.
    pub owner: Ino,
    /// Seed of the name hash, from the superblock.
    pub seed: u64,
    /// Where its first block is wanted.
    pub near: DiskBlock,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Key, which is the cookie.
    pub key: u64,
    /// The inode.
    pub ino: Ino,
    /// Its type as stored, [`FileType`].
    pub ftype: u8,
}

impl From<Dirent<'_>> for DirEntry {
    fn from(entry: Dirent<'_>) -> Self {
        Self {
            key: entry.key,
            ino: entry.ino,
            ftype: entry.ftype,
        }
    }
}

/// Where a name is, or where it would go.
enum Place {
    Taken(DirEntry),
    Free(u64),
}

fn tree(ctx: &Ctx) -> Tree<Dirents> {
    Tree::new(Owner::inode(ctx.owner))
}

/// The hash of a name in this directory.
fn hash_of(ctx: &Ctx, name: &[u8]) -> u32 {
    #[cfg(all(test, unit_tests))]
    if let Some(hash) = tests::forced_hash(ctx.seed, name) {
        return hash;
    }
    name_hash(ctx.seed, name)
}

/// Whether a directory can have an entry of this name: `ENAMETOOLONG` above 255 bytes, `EINVAL` if
/// it is empty, ".", ".." or has a NUL or '/'.
pub fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > MAX_NAME {
        return Err(Error::new(Errno::NAMETOOLONG));
    }
    if !dirent::name_is_legal(name) {
        return Err(Error::new(Errno::INVAL));
    }
    Ok(())
}

/// Calls `f` with each entry from key `from` on, in key order, until it breaks. `f` must not sleep.
/// In a tree `spot` is where that was.
fn scan<B>(
    m: &Mount,
    fork: &Fork,
    ctx: &Ctx,
    from: u64,
    spot: &mut Spot,
    mut f: impl FnMut(Dirent<'_>) -> ControlFlow<B>,
) -> Result<Option<B>> {
    match fork.format {
        ForkFormat::InlineDir => Ok(inline::scan(&fork.inline, from, f)),
        ForkFormat::DirTree => tree(ctx).scan_to(m, &fork.root, from, spot, &mut f),
        _ => Err(Error::new(Errno::NOTDIR)),
    }
}

/// Looks for a name among those of its hash; on the way finds the lowest free disambiguator.
fn find(m: &Mount, fork: &Fork, ctx: &Ctx, name: &[u8], spot: &mut Spot) -> Result<Place> {
    let hash = hash_of(ctx, name);
    // Entries come in key order, so the first gap shows when an entry is beyond `free`.
    let mut free = 0;
    let found = scan(m, fork, ctx, first_key(hash), spot, |entry| {
        if key_hash(entry.key) != hash {
            return ControlFlow::Break(None);
        }
        if entry.name == name {
            return ControlFlow::Break(Some(DirEntry::from(entry)));
        }
        if key_disambiguator(entry.key) == free {
            free += 1;
        }
        ControlFlow::Continue(())
    })?;
    match found.flatten() {
        Some(entry) => Ok(Place::Taken(entry)),
        None if free > DISAMBIGUATOR_MAX => Err(Error::new(Errno::NOSPC)),
        None => Ok(Place::Free(key(hash, free))),
    }
}

/// Looks a name up. `ENOTDIR` if the fork is not a directory's.
pub fn lookup(m: &Mount, fork: &Fork, ctx: &Ctx, name: &[u8]) -> Result<Option<DirEntry>> {
    match find(m, fork, ctx, name, &mut Spot::nowhere())? {
        Place::Taken(entry) => Ok(Some(entry)),
        Place::Free(_) => Ok(None),
    }
}

/// Whether there are no entries. No I/O.
pub fn is_empty(fork: &Fork) -> bool {
    fork.is_empty()
}

/// Copies entries from key `from` on into `out`, as many as fit; none only at the end. A caller
/// that has emitted an entry goes on from its key + 1. Nothing here touches user memory.
pub fn read(m: &Mount, fork: &Fork, ctx: &Ctx, from: u64, out: &mut EntryBuf) -> Result<()> {
    out.clear();
    scan(m, fork, ctx, from, &mut Spot::nowhere(), |entry| {
        if out.push(&entry) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    Ok(())
}

/// Adds a name and returns its key. `EEXIST`, `EINVAL` or `ENAMETOOLONG` before anything changes.
///
/// Needs [`INSERT_BLOCKS`] and [`INSERT_BUFS`] of the reservation; the inode is to be logged.
pub fn insert(
    m: &Mount,
    txn: &mut Txn<'_>,
    fork: &mut Fork,
    ctx: &Ctx,
    name: &[u8],
    ino: Ino,
    ftype: FileType,
) -> Result<u64> {
    check_name(name)?;
    let mut spot = Spot::nowhere();
    let Place::Free(key) = find(m, fork, ctx, name, &mut spot)? else {
        return Err(Error::new(Errno::EXIST));
    };
    let mut bytes = [0; MAX_DIRENT];
    let record = encode(&mut bytes, key, ino, ftype, name)?;

    if fork.format == ForkFormat::InlineDir {
        if fork.inline.len() + record.len() <= usize::from(fork.limit) {
            inline::insert(&mut fork.inline, key, record);
            return Ok(key);
        }
        to_tree(txn, fork, ctx)?;
    }
    tree(ctx).insert_from(m, txn, &mut fork.root, ctx.near, &mut spot, record)?;
    Ok(key)
}

/// Removes a name and returns what it stood for. `ENOENT` before anything changes.
///
/// Needs [`REMOVE_BUFS`] and [`REMOVE_FREES`] of the reservation; the inode is to be logged.
pub fn remove(
    m: &Mount,
    txn: &mut Txn<'_>,
    fork: &mut Fork,
    ctx: &Ctx,
    name: &[u8],
) -> Result<DirEntry> {
    let Place::Taken(entry) = find(m, fork, ctx, name, &mut Spot::nowhere())? else {
        return Err(Error::new(Errno::NOENT));
    };
    if fork.format == ForkFormat::InlineDir {
        inline::remove(&mut fork.inline, entry.key);
    } else {
        tree(ctx).remove(m, txn, &mut fork.root, entry.key)?;
        to_inline(m, txn, fork, ctx)?;
    }
    Ok(entry)
}

/// Lets a name stand for another inode and returns what it stood for before. The key stays.
/// `ENOENT` before anything changes.
///
/// Needs [`REPLACE_BUFS`] of the reservation; the inode is to be logged if it is inline.
pub fn replace(
    m: &Mount,
    txn: &mut Txn<'_>,
    fork: &mut Fork,
    ctx: &Ctx,
    name: &[u8],
    ino: Ino,
    ftype: FileType,
) -> Result<DirEntry> {
    let Place::Taken(old) = find(m, fork, ctx, name, &mut Spot::nowhere())? else {
        return Err(Error::new(Errno::NOENT));
    };
    let mut bytes = [0; MAX_DIRENT];
    let record = encode(&mut bytes, old.key, ino, ftype, name)?;
    if fork.format == ForkFormat::InlineDir {
        inline::overwrite(&mut fork.inline, old.key, record);
    } else {
        tree(ctx).update(m, txn, &mut fork.root, ctx.near, old.key, record)?;
    }
    Ok(old)
}

fn encode<'a>(
    bytes: &'a mut [u8; MAX_DIRENT],
    key: u64,
    ino: Ino,
    ftype: FileType,
    name: &[u8],
) -> Result<&'a [u8]> {
    let entry = Dirent {
        key,
        ino,
        ftype: ftype as u8,
        name,
    };
    entry
        .encode(bytes)
        .and_then(|len| bytes.get(..len))
        .ok_or_else(|| Error::new(Errno::NAMETOOLONG))
}

/// Moves the entries from the inode to a first leaf, which has room for them and one more. Attributes
/// may leave less room in the inode than a first name takes; the tree stays empty then.
fn to_tree(txn: &mut Txn<'_>, fork: &mut Fork, ctx: &Ctx) -> Result<()> {
    if !fork.inline.is_empty() {
        let records = inline::records(&fork.inline);
        tree(ctx).build_leaf(txn, &mut fork.root, ctx.near, records)?;
        fork.inline = sys::Vec::new();
    }
    fork.format = ForkFormat::DirTree;
    Ok(())
}

/// Moves the entries of a tree that has shrunk to a small leaf back into the inode.
fn to_inline(m: &Mount, txn: &mut Txn<'_>, fork: &mut Fork, ctx: &Ctx) -> Result<()> {
    if fork.root.depth > 1 {
        return Ok(());
    }
    let room = usize::from(fork.limit) / 2;
    let mut bytes = 0;
    let more = tree(ctx).scan(m, &fork.root, 0, |entry| {
        bytes += entry.len();
        if bytes > room {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    // The name is gone and the tree is good: an error here is no reason to fail.
    let Ok(None) = more else {
        return Ok(());
    };

    fork.inline.clear();
    // The names are going to leave the tree: no failure from here on.
    fork.inline.must_reserve(bytes);
    let inline = &mut fork.inline;
    tree(ctx).scan(m, &fork.root, 0, |entry| {
        inline::append(inline, &entry);
        ControlFlow::<()>::Continue(())
    })?;
    tree(ctx).destroy_step(m, txn, &mut fork.root, 1, |_| true)?;
    fork.format = ForkFormat::InlineDir;
    Ok(())
}
