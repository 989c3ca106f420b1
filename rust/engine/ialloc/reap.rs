// SPDX-License-Identifier: GPL-2.0

//! Giving empty chunks back.
//!
//! Never in the transaction that frees a chunk's last inode: other inodes of the chunk may still
//! have changes on the way to its blocks. A chunk goes only after a checkpoint, when no inode of it
//! is in memory and its buffers are clean, so a freed inode block never has anything attached to it
//! (rules M3). Handles of its inodes fail at the map, before the block is looked at.

use super::{
    chunk::{first_block, set_chunk},
    group::{AgInner, Group},
    hidden,
    map::{broken, map_block, place_of},
};
use crate::{
    engine::{
        buf::BufRef,
        error::Result,
        mount::Mount,
        txn::{res, FreeKind},
    },
    format::{
        header::Owner,
        imap::MapBlock,
        units::{BlockRange, FileBlock, Ino, CHUNK_BLOCKS, CHUNK_INODES},
    },
    sys::{Arc, NofsScope},
};

/// Frees the chunks that became empty, as far as nothing of them is in use. Called after a
/// checkpoint; what it frees is usable after the next. Returns the number of chunks freed. Nothing
/// may be held; may sleep.
pub(crate) fn reap_empty_chunks(m: &Arc<Mount>) -> Result<u32> {
    if !push_empty_chunks(m)? {
        return Ok(0);
    }
    let mut freed = 0_u32;
    for group in m.inodes.groups() {
        let before = freed;
        for chunk in group.empty.take() {
            match reap(m, group, chunk) {
                Ok(Reaped::Yes) => freed = freed.saturating_add(1),
                // In use again: it comes back when it is empty again.
                Ok(Reaped::InUse) => {}
                Ok(Reaped::Later) => {
                    group.empty.add(chunk);
                }
                Err(e) => {
                    group.empty.add(chunk);
                    return Err(e);
                }
            }
        }
        if freed != before {
            trim_map(m, group)?;
        }
    }
    Ok(freed)
}

/// Forgets chunks that are in use again; if some are left, brings what is on its way to their blocks
/// there (rules M3). Whether there is something to free.
#[inline(never)]
fn push_empty_chunks(m: &Arc<Mount>) -> Result<bool> {
    let mut found = false;
    let mut verdict = Ok(());
    for group in m.inodes.groups() {
        if group.empty.len() == 0 {
            continue;
        }
        let _nofs = NofsScope::enter();
        for chunk in group.empty.take() {
            // Under the lock that a new inode needs, too: it comes back when it is empty again.
            let empty = group
                .read(m)
                .and_then(|inner| empty_chunk(m, group, &inner, chunk));
            match empty {
                Ok(None) => continue,
                Ok(Some(_)) => found = true,
                Err(e) => verdict = Err(e),
            }
            group.empty.add(chunk);
        }
    }
    verdict?;
    // What cannot be written now is tried again; its chunk has to wait for it.
    Ok(found && m.push_ail_all().is_ok())
}

/// Whether there are deleted inodes or empty chunks that hold space.
pub(crate) fn may_reclaim(m: &Mount) -> bool {
    m.inodes
        .groups()
        .iter()
        .any(|group| group.doomed.len() != 0 || group.empty.len() != 0)
}

enum Reaped {
    /// Freed.
    Yes,
    /// It has inodes, or does not exist.
    InUse,
    /// Empty, but something of it is in memory.
    Later,
}

/// The map block of a chunk that exists and has no inodes, `None` if it is not like that. The
/// caller holds the AG inode lock.
fn empty_chunk(m: &Mount, group: &Group, inner: &AgInner, chunk: u32) -> Result<Option<BufRef>> {
    let (block, n) = place_of(chunk);
    let Some(map) = map_block(m, group, inner, block)? else {
        return Ok(None);
    };
    let empty = MapBlock::of(&map.data())
        .chunk(n)
        .is_some_and(|masks| masks.alloc.get() == 0);
    Ok(empty.then_some(map))
}

fn reap(m: &Arc<Mount>, group: &Group, chunk: u32) -> Result<Reaped> {
    // Most are in use again, new chunks always: no transaction for them.
    {
        let _nofs = NofsScope::enter();
        if empty_chunk(m, group, &*group.read(m)?, chunk)?.is_none() {
            return Ok(Reaped::InUse);
        }
    }
    let mut txn = m.begin(res::INODE_CHUNK_FREE)?;
    let mut inner = group.write(m, 0)?;

    // The group's shared lock holders claim numbers, so under the exclusive lock the claims and the
    // map agree.
    let (block, n) = place_of(chunk);
    let Some(map) = empty_chunk(m, group, &inner, chunk)? else {
        return Ok(Reaped::InUse);
    };
    let first = chunk.saturating_mul(CHUNK_INODES);
    let claimed = |index: &u32| index.checked_sub(first).is_some_and(|i| i < CHUNK_INODES);
    if group.pick.lock().claims.iter().any(claimed) {
        return Ok(Reaped::Later);
    }
    for i in 0..CHUNK_INODES {
        if !m
            .inodes
            .cache
            .evict(Ino::new(group.ag, first.saturating_add(i)))
        {
            return Ok(Reaped::Later);
        }
    }

    let owner = Owner::inode_file(group.ag);
    let header = m.ag(group.ag)?.header(m)?;
    let Some(start) = hidden::lookup(m, owner, &inner.file, first_block(chunk))? else {
        return Err(broken(
            group.ag,
            "a chunk of the inode map is a hole in the inode file",
        ));
    };
    let range = BlockRange::new(start, CHUNK_BLOCKS);
    if !clean(m, range) {
        return Ok(Reaped::Later);
    }

    hidden::remove(
        m,
        &mut txn,
        owner,
        &mut inner.file,
        first_block(chunk),
        CHUNK_BLOCKS,
    )?;
    txn.free(range, FreeKind::Meta)?;
    if !txn.modify(&map, |b| set_chunk(b, n, false)) {
        return Err(broken(group.ag, "counts of the inode map"));
    }
    let counts = (
        inner.inodes.checked_sub(CHUNK_INODES),
        inner.free.checked_sub(CHUNK_INODES),
    );
    let (Some(inodes), Some(free)) = counts else {
        return Err(broken(group.ag, "inode counts"));
    };
    inner.inodes = inodes;
    inner.free = free;
    let gone = i64::from(CHUNK_INODES).saturating_neg();
    txn.count_inodes(gone, gone, 0);
    txn.modify(&header, |b| inner.store(b))?;
    txn.commit()?;
    group.pick.lock().room.set(block);
    Ok(Reaped::Yes)
}

/// Whether nothing is on its way to these blocks.
fn clean(m: &Mount, range: BlockRange) -> bool {
    (0..u64::from(range.len)).all(|i| {
        m.buf()
            .find(range.start.saturating_add(i))
            .is_none_or(|buf| buf.is_clean())
    })
}

/// Frees the blocks at the end of the inode map that have no chunk any more, each in a transaction
/// of its own.
fn trim_map(m: &Arc<Mount>, group: &Group) -> Result {
    loop {
        let mut txn = m.begin(res::INODE_MAP_TRIM)?;
        let mut inner = group.write(m, 0)?;
        let Some(last) = inner.map_blocks.checked_sub(1) else {
            return Ok(());
        };
        let Some(buf) = map_block(m, group, &inner, last)? else {
            return Ok(());
        };
        if MapBlock::of(&buf.data()).present.get() != 0 {
            return Ok(());
        }
        let at = buf.block();
        drop(buf);
        let header = m.ag(group.ag)?.header(m)?;
        let owner = Owner::inode_map(group.ag);
        hidden::remove(
            m,
            &mut txn,
            owner,
            &mut inner.map,
            FileBlock(u64::from(last)),
            1,
        )?;
        txn.free(BlockRange::new(at, 1), FreeKind::Meta)?;
        inner.map_blocks = last;
        txn.modify(&header, |b| inner.store(b))?;
        txn.commit()?;
        let mut pick = group.pick.lock();
        pick.free.clear(last);
        pick.room.clear(last);
    }
}
