// SPDX-License-Identifier: GPL-2.0

//! Setting and removing.
//!
//! How much a change needs depends on the form the attributes have, which is known under the ILOCK
//! only, and the reservation comes before it. So it is guessed ([`Class`]), checked under the lock
//! before anything is changed, and if it was too small the transaction is given back and the next
//! one is larger. That ends after three: the classes only grow.

use super::{check_live, find, inline, tree, value, Found, Name, Place};
use crate::{
    engine::{
        btree::{self, Progress},
        error::{Error, Result},
        fork::{Fork, ForkFormat},
        ialloc,
        inode::{InodeInner, InodeRef, InodeWrite},
        mount::Mount,
        namespace::Change,
        txn::{Txn, TxnRes},
    },
    format::{
        limits::{MAX_ATTR_RECORD, MAX_ATTR_VALUE},
        units::{DiskBlock, Ino},
        xattr::{value::MAX_VALUE_BLOCKS, Attr, AttrValue, ATTR_HEAD},
    },
    sys::{self, Arc, Errno},
};
use core::ops::ControlFlow;

/// What an attribute in the inode needs.
const SET_INLINE: TxnRes = TxnRes::new(0, 0).joins(1).checked();
/// Setting an attribute in the tree: a record that moves to another leaf is removed and inserted;
/// the blocks of the old value go.
pub(crate) const SET_SMALL: TxnRes = TxnRes::new(
    btree::INSERT_BLOCKS,
    btree::INSERT_BUFS + btree::REMOVE_BUFS,
)
.frees(btree::REMOVE_FREES + MAX_VALUE_BLOCKS)
.joins(1)
.checked();
/// Setting one whose value gets blocks of its own.
pub(crate) const SET_LARGE: TxnRes = SET_SMALL
    .and(TxnRes::new(MAX_VALUE_BLOCKS, MAX_VALUE_BLOCKS))
    .checked();
/// Removing an attribute from the tree. Needs no blocks.
pub(crate) const REMOVE: TxnRes = TxnRes::new(0, btree::REMOVE_BUFS)
    .frees(btree::REMOVE_FREES + MAX_VALUE_BLOCKS)
    .joins(1)
    .from_pool()
    .checked();

/// Most blocks that attributes of one inode have, less what one change adds.
const MOST_BLOCKS: u64 = u32::MAX as u64 - 64;

/// Whether an attribute may, must or must not exist before it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum How {
    /// It may.
    #[default]
    Any,
    /// `XATTR_CREATE`: it must not, EEXIST.
    Create,
    /// `XATTR_REPLACE`: it must, ENODATA.
    Replace,
}

/// How much a change needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Inline,
    Remove,
    Small,
    Large,
}

impl Class {
    const fn res(self) -> TxnRes {
        match self {
            Class::Inline => SET_INLINE,
            Class::Remove => REMOVE,
            Class::Small => SET_SMALL,
            Class::Large => SET_LARGE,
        }
    }
}

/// What is to be done with an attribute.
#[derive(Clone, Copy)]
enum Op<'a> {
    Set(&'a [u8], How),
    /// Remove; whether it is an error if there is none.
    Remove(bool),
}

/// What an operation is going to do, decided before the first change.
pub(super) struct Plan {
    class: Class,
    key: u64,
    old: Option<Found>,
}

/// Sets an attribute, in one transaction. `change` has the time and version of the inode with it.
/// Nothing may be held but i_rwsem. E2BIG above 64 KiB, EEXIST, ENODATA, ENOSPC.
pub fn set(
    m: &Arc<Mount>,
    inode: &InodeRef,
    name: Name<'_>,
    value: &[u8],
    how: How,
    change: &Change,
) -> Result {
    apply(m, inode, name, Op::Set(value, how), change)
}

/// Removes an attribute, in one transaction. Locks as [`set`]. ENODATA. Needs no space.
pub fn remove(m: &Arc<Mount>, inode: &InodeRef, name: Name<'_>, change: &Change) -> Result {
    apply(m, inode, name, Op::Remove(true), change)
}

/// Sets an ACL, or removes it if it exists (`None`), and changes attributes of the inode with it:
/// the mode belongs to an ACL, and no crash or reader sees one without the other. Locks and errors
/// as [`set`].
pub fn set_acl(
    m: &Arc<Mount>,
    inode: &InodeRef,
    name: Name<'_>,
    value: Option<&[u8]>,
    change: &Change,
) -> Result {
    let op = match value {
        Some(value) => Op::Set(value, How::Any),
        None => Op::Remove(false),
    };
    apply(m, inode, name, op, change)
}

fn apply(m: &Arc<Mount>, inode: &InodeRef, name: Name<'_>, op: Op<'_>, change: &Change) -> Result {
    name.check()?;
    if let Op::Set(value, _) = op {
        if value.len() > MAX_ATTR_VALUE as usize {
            return Err(Error::new(Errno::TOOBIG));
        }
    }
    let mut class = guess(&inode.ilock.read(), name, op);
    loop {
        match attempt(m, inode, name, op, change, class)? {
            None => return Ok(()),
            Some(more) => class = more,
        }
    }
}

/// What the change will probably need.
fn guess(inner: &InodeInner, name: Name<'_>, op: Op<'_>) -> Class {
    let in_tree = inner.attrs.format == ForkFormat::AttrTree;
    match op {
        Op::Remove(_) if in_tree => Class::Remove,
        Op::Remove(_) => Class::Inline,
        Op::Set(value, _) => {
            let record = record_len(name, value);
            let inline = inner.attrs.inline.len().saturating_add(record);
            if !in_tree && inline <= inline::room(inner) {
                Class::Inline
            } else {
                tree_class(record)
            }
        }
    }
}

/// Bytes of the record of an attribute with its value.
pub(super) fn record_len(name: Name<'_>, value: &[u8]) -> usize {
    ATTR_HEAD
        .saturating_add(name.name.len())
        .saturating_add(value.len())
}

fn tree_class(record: usize) -> Class {
    if record <= MAX_ATTR_RECORD {
        Class::Small
    } else {
        Class::Large
    }
}

/// Begins the transaction and takes the ILOCK. When there is no space, what is being deleted is
/// finished first (rules M23).
fn begin<'m, 'i>(
    m: &'m Arc<Mount>,
    inode: &'i InodeRef,
    res: TxnRes,
) -> Result<(Txn<'m>, InodeWrite<'i>)> {
    let goal = ialloc::goal_of(m, inode.ino);
    let txn = match m.begin_near(res, goal) {
        Err(e) if e.is(Errno::NOSPC) && ialloc::may_reclaim(m) => {
            m.sync()?;
            m.begin_near(res, goal)?
        }
        other => other?,
    };
    Ok((txn, inode.ilock.write()))
}

/// One attempt with a reservation of `class`; the class that it needs if that is a larger one.
#[inline(never)]
fn attempt(
    m: &Arc<Mount>,
    inode: &InodeRef,
    name: Name<'_>,
    op: Op<'_>,
    change: &Change,
    class: Class,
) -> Result<Option<Class>> {
    let (mut txn, mut inner) = begin(m, inode, class.res())?;
    check_live(&inner)?;
    let plan = match op {
        Op::Set(value, how) => Some(plan_set(m, inode.ino, &inner, name, value, how)?),
        Op::Remove(must) => plan_remove(m, inode.ino, &inner, name, must)?,
    };
    if let Some(plan) = plan.as_ref().filter(|plan| plan.class > class) {
        return Ok(Some(plan.class));
    }
    txn.join_inode(inode)?;
    match (plan, op) {
        (Some(plan), Op::Set(value, _)) => {
            put(m, &mut txn, inode.ino, &mut inner, name, value, &plan)?;
        }
        (Some(plan), Op::Remove(_)) => take(m, &mut txn, inode.ino, &mut inner, &plan)?,
        (None, _) => {}
    }
    inner.core.apply(change);
    txn.log_inode(inode, &inner)?;
    txn.commit()?;
    Ok(None)
}

/// What setting an attribute is going to do. Reads; changes nothing.
pub(super) fn plan_set(
    m: &Mount,
    ino: Ino,
    inner: &InodeInner,
    name: Name<'_>,
    value: &[u8],
    how: How,
) -> Result<Plan> {
    let (key, old) = match find(m, ino, inner, name)? {
        Place::Taken(_) if how == How::Create => return Err(Error::new(Errno::EXIST)),
        Place::Free(_) if how == How::Replace => return Err(Error::new(Errno::NODATA)),
        Place::Taken(found) => (found.key, Some(found)),
        Place::Free(key) => (key, None),
    };
    let record = record_len(name, value);
    let freed = old.as_ref().map_or(0, |old| old.record);
    let inline = inner
        .attrs
        .inline
        .len()
        .saturating_sub(freed)
        .saturating_add(record);
    let in_tree = inner.attrs.format == ForkFormat::AttrTree;
    let class = if !in_tree && inline <= inline::room(inner) {
        Class::Inline
    } else {
        tree_class(record)
    };
    if inner.attrs.root.blocks > MOST_BLOCKS {
        return Err(Error::new(Errno::NOSPC));
    }
    Ok(Plan { class, key, old })
}

/// What removing an attribute is going to do; `None` for nothing.
fn plan_remove(
    m: &Mount,
    ino: Ino,
    inner: &InodeInner,
    name: Name<'_>,
    must: bool,
) -> Result<Option<Plan>> {
    let class = match inner.attrs.format {
        ForkFormat::AttrTree => Class::Remove,
        _ => Class::Inline,
    };
    match find(m, ino, inner, name)? {
        Place::Taken(found) => Ok(Some(Plan {
            class,
            key: found.key,
            old: Some(found),
        })),
        Place::Free(_) if must => Err(Error::new(Errno::NODATA)),
        Place::Free(_) => Ok(None),
    }
}

/// Sets an attribute as planned. The inode is to be logged.
#[inline(never)]
pub(super) fn put(
    m: &Mount,
    txn: &mut Txn<'_>,
    ino: Ino,
    inner: &mut InodeInner,
    name: Name<'_>,
    value: &[u8],
    plan: &Plan,
) -> Result {
    let whole = record_len(name, value);
    let large = whole > MAX_ATTR_RECORD;
    let mut record = sys::Vec::new();
    record.try_reserve(whole.min(MAX_ATTR_RECORD))?;

    if plan.class == Class::Inline {
        encode(
            &mut record,
            name,
            plan.key,
            value.len(),
            AttrValue::Here(value),
        );
        let inline = inline::edited(&inner.attrs.inline, plan.key, &record)?;
        txn.touch();
        inner.attrs.inline = inline;
        inner.attrs.format = ForkFormat::InlineAttrs;
        inner.share_literal();
        return Ok(());
    }

    let near = ialloc::goal_of(m, ino);
    let runs;
    let value_here = if large {
        runs = value::write(txn, ino, &mut inner.attrs, near, plan.key, value)?;
        AttrValue::Blocks(runs.as_bytes())
    } else {
        AttrValue::Here(value)
    };
    encode(&mut record, name, plan.key, value.len(), value_here);
    if inner.attrs.format != ForkFormat::AttrTree {
        to_tree(txn, ino, inner, near)?;
    }
    let root = &mut inner.attrs.root;
    match &plan.old {
        Some(old) => {
            tree(ino).update(m, txn, root, near, old.key, &record)?;
            value::free(txn, &mut inner.attrs, &old.runs)?;
        }
        None => tree(ino).insert(m, txn, root, near, &record)?,
    }
    to_inline(m, txn, ino, inner)
}

/// Removes an attribute as planned. The inode is to be logged.
#[inline(never)]
fn take(m: &Mount, txn: &mut Txn<'_>, ino: Ino, inner: &mut InodeInner, plan: &Plan) -> Result {
    if inner.attrs.format != ForkFormat::AttrTree {
        let inline = inline::edited(&inner.attrs.inline, plan.key, &[])?;
        txn.touch();
        if inline.is_empty() {
            inner.attrs = Fork::default();
        } else {
            inner.attrs.inline = inline;
        }
        inner.share_literal();
        return Ok(());
    }
    tree(ino).remove(m, txn, &mut inner.attrs.root, plan.key)?;
    if let Some(old) = &plan.old {
        value::free(txn, &mut inner.attrs, &old.runs)?;
    }
    to_inline(m, txn, ino, inner)
}

/// Puts the record of an attribute into `out`, which has memory for it.
fn encode(out: &mut sys::Vec<u8>, name: Name<'_>, key: u64, len: usize, value: AttrValue<'_>) {
    let attr = Attr {
        key,
        space: name.space as u8,
        name: name.name,
        len: len as u32,
        value,
    };
    inline::append(out, &attr);
}

/// Moves the attributes from the inode to a first leaf.
fn to_tree(txn: &mut Txn<'_>, ino: Ino, inner: &mut InodeInner, near: DiskBlock) -> Result {
    let fork = &mut inner.attrs;
    if !fork.inline.is_empty() {
        let records = inline::records(&fork.inline);
        tree(ino).build_leaf(txn, &mut fork.root, near, records)?;
        fork.inline = sys::Vec::new();
    }
    fork.format = ForkFormat::AttrTree;
    inner.share_literal();
    Ok(())
}

/// Moves the attributes of a tree that has shrunk to a small leaf back into the inode: when they
/// take half of what there is room for, so that an inode at the limit does not go back and forth.
fn to_inline(m: &Mount, txn: &mut Txn<'_>, ino: Ino, inner: &mut InodeInner) -> Result {
    if inner.attrs.root.depth == 0 {
        inner.attrs = Fork::default();
        inner.share_literal();
        return Ok(());
    }
    if inner.attrs.root.depth > 1 {
        return Ok(());
    }
    let room = inline::room(inner) / 2;
    let mut bytes = 0;
    let more = tree(ino).scan(m, &inner.attrs.root, 0, |attr| {
        bytes += attr.record_len();
        if bytes > room || matches!(attr.value, AttrValue::Blocks(_)) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    // The change is made and the tree is good: an error here is no reason to fail.
    let Ok(None) = more else {
        return Ok(());
    };

    let fork = &mut inner.attrs;
    fork.inline.clear();
    // The records are going to leave the tree: no failure for memory from here on.
    fork.inline.must_reserve(bytes);
    let records = &mut fork.inline;
    tree(ino).scan(m, &fork.root, 0, |attr| {
        inline::append(records, &attr);
        ControlFlow::<()>::Continue(())
    })?;
    let progress = tree(ino).destroy_step(m, txn, &mut fork.root, 1, |_| true)?;
    if progress != Progress::Done {
        return Err(Error::new(Errno::UCLEAN));
    }
    fork.format = ForkFormat::InlineAttrs;
    inner.share_literal();
    Ok(())
}
