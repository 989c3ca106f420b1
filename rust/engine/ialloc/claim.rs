// SPDX-License-Identifier: GPL-2.0

//! Choosing a number for a new inode.
//!
//! Directories are spread over the allocation groups, everything else goes near its directory: in
//! its chunk, then in the chunks behind it, then in a new chunk. What a search may cost is bounded:
//! map blocks without a free number are known by the hints, and one map block has 250 masks.

use super::{
    chunk::{grow, Grown},
    group::{AgInner, Group},
    map::{map_block, place_of},
    reap::may_reclaim,
};
use crate::{
    engine::{
        buf::BufRef,
        error::{Error, Result},
        inode::{
            cache::{Cache, Reuse},
            Inode, InodeRef,
        },
        mount::Mount,
    },
    format::{
        imap::MapBlock,
        limits::MAP_CHUNKS,
        units::{AgNumber, Ino, CHUNK_INODES},
    },
    sys::{self, atomic::Ordering, Arc, Errno, NofsScope, Vec},
};

/// A free number nobody else will get as long as this lives.
pub(crate) struct InoClaim<'m> {
    group: &'m Group,
    cache: &'m Cache,
    /// The number.
    pub(crate) ino: Ino,
    /// The block of the map that has its bit.
    pub(super) map: BufRef,
    /// The object of its last life, if it is still in memory.
    reused: Option<InodeRef>,
}

impl InoClaim<'_> {
    /// The object for the new inode: nobody can find it before [`InoClaim::publish`]. What is in it
    /// is that of the last life or empty. May sleep; ENOMEM.
    pub(crate) fn object(&self) -> Result<InodeRef> {
        match &self.reused {
            Some(inode) => Ok(inode.clone()),
            None => Inode::alloc(self.ino),
        }
    }

    /// Everybody can find the inode from now on. Under the AG inode lock, exclusive, after the
    /// commit that set its bit. May sleep, cannot fail.
    pub(crate) fn publish(self, inode: &InodeRef) {
        if self.reused.is_some() {
            inode.state.clear_free();
        } else {
            self.cache.publish(inode);
        }
    }
}

impl Drop for InoClaim<'_> {
    fn drop(&mut self) {
        // The object first: whoever takes the number next must find it unused.
        self.reused = None;
        let index = self.ino.index();
        let mut pick = self.group.pick.lock();
        if let Some(at) = pick.claims.iter().position(|c| *c == index) {
            pick.claims.swap_remove(at);
        }
        pick.freed(place_of(self.ino.chunk()).0);
    }
}

/// Claims a number for a new inode in directory `parent`; `is_dir` says that it is a directory.
///
/// May allocate a chunk of inodes, in a transaction of its own, and when there is no space finish
/// pending deletions and write a checkpoint. Nothing may be held. ENOSPC, EROFS, EIO, ENOMEM.
pub(crate) fn claim(m: &Arc<Mount>, parent: Ino, is_dir: bool) -> Result<InoClaim<'_>> {
    let first = if is_dir {
        spread(m, parent)?
    } else {
        parent.ag()
    };
    // Numbers near the parent; in another group than the parent's from its beginning.
    let near = |ag: AgNumber| if ag == parent.ag() { parent.index() } else { 0 };

    for round in 0..2 {
        let groups = m.inodes.groups();
        // Own group first. A new chunk near the directory is better than a free number far away,
        // but anywhere is better than nowhere.
        for scatter in [false, true] {
            for step in 0..groups.len() {
                let at = (first.0 as usize).saturating_add(step);
                let Some(group) = at.checked_rem(groups.len()).and_then(|n| groups.get(n)) else {
                    continue;
                };
                if let Some(claim) = in_group(m, group, near(group.ag), scatter)? {
                    return Ok(claim);
                }
            }
        }
        // Deleted inodes that still have their blocks and empty chunks are free space, too.
        if round == 1 || !may_reclaim(m) {
            break;
        }
        m.sync()?;
    }
    Err(Error::new(Errno::NOSPC))
}

/// The group for a new directory: the next one in turn, as in XFS. One that has neither a free number
/// nor room is passed over by [`claim`].
fn spread(m: &Mount, parent: Ino) -> Result<AgNumber> {
    let count = m.geo().ag_count();
    let turn = m.inodes.rotor.fetch_add(1, Ordering::Relaxed);
    Ok(AgNumber(turn.checked_rem(count).unwrap_or(parent.ag().0)))
}

/// A number in `group`, from an existing chunk or a new one; `None` if the group has neither a free
/// number nor room. `scatter` allows the new chunk to have its blocks in other groups.
fn in_group<'m>(
    m: &'m Arc<Mount>,
    group: &'m Group,
    near: u32,
    scatter: bool,
) -> Result<Option<InoClaim<'m>>> {
    loop {
        if let Some(claim) = search(m, group, near)? {
            return Ok(Some(claim));
        }
        match grow(m, group, near, scatter)? {
            Grown::Yes => {}
            Grown::No => return Ok(None),
        }
    }
}

/// A free number in an existing chunk of `group`.
#[inline(never)]
fn search<'m>(m: &'m Mount, group: &'m Group, near: u32) -> Result<Option<InoClaim<'m>>> {
    let _nofs = NofsScope::enter();
    let inner = group.read(m)?;
    if (inner.free as usize) <= group.claimed() {
        return Ok(None);
    }
    let (near_block, near_chunk) = place_of(near / CHUNK_INODES);
    let mut from = near_block;
    loop {
        let (block, epoch) = {
            let pick = group.pick.lock();
            (pick.free.next_wrapping(from), pick.epoch)
        };
        let Some(block) = block else {
            return Ok(None);
        };
        let first = if block == near_block { near_chunk } else { 0 };
        if let Some(claim) = search_block(m, group, &inner, block, first)? {
            return Ok(Some(claim));
        }
        let mut pick = group.pick.lock();
        if pick.epoch == epoch {
            pick.free.clear(block);
        }
        from = block.saturating_add(1);
        drop(pick);
        // If the epoch moved the block may be looked at again: somebody gave a number back.
        sys::relax();
    }
}

/// A free number in map block `block`, from chunk `first` of it on.
#[inline(never)]
fn search_block<'m>(
    m: &'m Mount,
    group: &'m Group,
    inner: &AgInner,
    block: u32,
    first: u32,
) -> Result<Option<InoClaim<'m>>> {
    let Some(buf) = map_block(m, group, inner, block)? else {
        return Ok(None);
    };
    let bytes = buf.data();
    let map = MapBlock::of(&bytes);
    if map.free.get() == 0 {
        return Ok(None);
    }
    for n in (first..MAP_CHUNKS).chain(0..first.min(MAP_CHUNKS)) {
        let Some(masks) = map.chunk(n) else { continue };
        let mut free = !masks.alloc.get();
        while free != 0 {
            let bit = free.trailing_zeros();
            free &= free - 1;
            let index = block
                .saturating_mul(MAP_CHUNKS)
                .saturating_add(n)
                .saturating_mul(CHUNK_INODES)
                .saturating_add(bit);
            if let Some(claim) = take(m, group, Ino::new(group.ag, index), &buf)? {
                return Ok(Some(claim));
            }
        }
    }
    Ok(None)
}

/// Claims a number that is free in the map; `None` if somebody else has claimed it or still looks
/// at its last life. `map` has its bit. The caller holds the AG inode lock.
#[inline(never)]
fn take<'m>(
    m: &'m Mount,
    group: &'m Group,
    ino: Ino,
    map: &BufRef,
) -> Result<Option<InoClaim<'m>>> {
    let mut spare: Vec<u32> = Vec::new();
    loop {
        let mut pick = group.pick.lock();
        if pick.claims.iter().any(|c| *c == ino.index()) {
            return Ok(None);
        }
        if spare.capacity() > pick.claims.capacity() {
            for claim in pick.claims.iter() {
                // Within the capacity: cannot fail.
                let _ = spare.push_within_capacity(*claim);
            }
            core::mem::swap(&mut pick.claims, &mut spare);
        }
        if pick.claims.push_within_capacity(ino.index()).is_ok() {
            break;
        }
        let room = pick.claims.capacity().saturating_mul(2).max(8);
        drop(pick);
        spare = Vec::try_with_capacity(room)?;
    }
    // From here on the claim's drop gives the number back.
    let mut claim = InoClaim {
        group,
        cache: &m.inodes.cache,
        ino,
        map: map.clone(),
        reused: None,
    };
    match m.inodes.cache.reuse(ino) {
        Reuse::Nothing => Ok(Some(claim)),
        Reuse::Object(inode) => {
            claim.reused = Some(inode);
            Ok(Some(claim))
        }
        Reuse::Busy => Ok(None),
    }
}
