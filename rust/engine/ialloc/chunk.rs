// SPDX-License-Identifier: GPL-2.0

//! Growing an inode file by a chunk.
//!
//! A transaction of its own, before the one that needs the inode: so that one never has to find
//! blocks under locks, and its reservation stays small. The chunk's number is the first that does
//! not exist near the place where an inode is wanted; its blocks follow those of the chunk before
//! it where that is possible, so that the inode file has few extents (rules P7).

use super::{
    group::{AgInner, AgWrite, Group},
    hidden,
    map::{broken, map_block, place_of},
};
use crate::{
    engine::{
        alloc::Claim,
        buf::BufRef,
        error::{Error, Result},
        inode::flush::INODE_BLOCK,
        mount::Mount,
        txn::{res, Txn},
    },
    format::{
        extent::Extent,
        header::{BlockKind, Owner},
        imap::MapBlock,
        inode::InodeSlot,
        limits::MAP_CHUNKS,
        units::{
            AgBlock, BlockRange, DiskBlock, FileBlock, Ino, Lsn, CHUNK_BLOCKS, CHUNK_INODES,
            INODES_PER_BLOCK,
        },
    },
    sys::{Arc, Errno, NofsScope},
};
use core::mem::offset_of;

/// What became of [`grow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grown {
    /// There may be free numbers now: search again.
    Yes,
    /// The group cannot have more inodes, or there is no space for them.
    No,
}

/// Where a new chunk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Number of the chunk.
    chunk: u32,
    /// Where its blocks would be best.
    goal: DiskBlock,
}

/// Blocks that a group's run of inode chunks is given at once, 1 MiB: the allocator is asked for a
/// run of this length first, so that the next chunks find their place behind this one.
const ZONE_BLOCKS: u32 = 256;

/// Adds a chunk to the group, near index `near`. With `scatter` its blocks may be in other groups.
/// Takes the AG inode lock. Nothing may be held; may sleep. EROFS, EIO, ENOMEM, EUCLEAN.
#[inline(never)]
pub(super) fn grow(m: &Arc<Mount>, group: &Group, near: u32, scatter: bool) -> Result<Grown> {
    let place = {
        let _nofs = NofsScope::enter();
        let inner = group.read(m)?;
        choose(m, group, &inner, near / CHUNK_INODES)?
    };
    let Some(place) = place else {
        return Ok(Grown::No);
    };
    let Some(claim) = find_space(m, group, place.goal, scatter)? else {
        return Ok(Grown::No);
    };
    let txn = match m.begin_near(res::INODE_CHUNK, place.goal) {
        Ok(txn) => txn,
        Err(e) if e.is(Errno::NOSPC) => return Ok(Grown::No),
        Err(e) => return Err(e),
    };
    let inner = group.write(m, 0)?;
    // Somebody else may have been faster; then there are free numbers now.
    if choose(m, group, &inner, near / CHUNK_INODES)?.map(|p| p.chunk) != Some(place.chunk) {
        return Ok(Grown::Yes);
    }
    add(m, txn, group, inner, place, claim)?;
    Ok(Grown::Yes)
}

/// Eight contiguous blocks.
#[inline(never)]
fn find_space(
    m: &Arc<Mount>,
    group: &Group,
    goal: DiskBlock,
    scatter: bool,
) -> Result<Option<Claim>> {
    let claim = match m.claim(goal, ZONE_BLOCKS, CHUNK_BLOCKS) {
        Ok(claim) => claim,
        Err(e) if e.is(Errno::NOSPC) => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut claim = claim;
    // What is beyond the chunk goes back at once.
    let chunk = claim.split_front(CHUNK_BLOCKS);
    drop(claim);
    let here = m.geo().locate(chunk.range().start).map(|(ag, _)| ag) == Some(group.ag);
    Ok((here || scatter).then_some(chunk))
}

/// The chunk to add, near chunk `near`; `None` if the group has all it can have.
#[inline(never)]
fn choose(m: &Mount, group: &Group, inner: &AgInner, near: u32) -> Result<Option<Place>> {
    let most = m.geo().max_chunks(group.ag);
    let mut from = place_of(near).0;
    loop {
        let Some(block) = group.pick.lock().room.next_wrapping(from) else {
            break;
        };
        let Some(buf) = map_block(m, group, inner, block)? else {
            // A hint beyond the map: the map shrank.
            group.pick.lock().room.clear(block);
            continue;
        };
        let absent = {
            let bytes = buf.data();
            let map = MapBlock::of(&bytes);
            (0..MAP_CHUNKS).find(|n| !map.has_chunk(*n))
        };
        let first = block.saturating_mul(MAP_CHUNKS);
        match absent.and_then(|n| first.checked_add(n)) {
            Some(chunk) if chunk < most => {
                return Ok(Some(Place {
                    chunk,
                    goal: goal(m, group, inner, chunk)?,
                }));
            }
            _ => {
                group.pick.lock().room.clear(block);
                from = block.saturating_add(1);
            }
        }
    }
    // All map blocks are full: the first chunk of the next one.
    let chunk = inner.map_blocks.checked_mul(MAP_CHUNKS);
    match chunk.filter(|c| *c < most) {
        None => Ok(None),
        Some(chunk) => Ok(Some(Place {
            chunk,
            goal: goal(m, group, inner, chunk)?,
        })),
    }
}

/// Behind the blocks of the chunk before; a group's first chunk goes to its beginning.
fn goal(m: &Mount, group: &Group, inner: &AgInner, chunk: u32) -> Result<DiskBlock> {
    if let Some(before) = chunk.checked_sub(1) {
        let last = first_block(before).saturating_add(u64::from(CHUNK_BLOCKS) - 1);
        let owner = Owner::inode_file(group.ag);
        if let Some(block) = hidden::lookup(m, owner, &inner.file, last)? {
            return Ok(block.saturating_add(1));
        }
    }
    m.geo()
        .disk_block(group.ag, AgBlock(m.geo().head_end(group.ag).0))
        .ok_or_else(|| Error::new(Errno::UCLEAN))
}

/// First block of the inode file that belongs to the chunk.
pub(super) fn first_block(chunk: u32) -> FileBlock {
    FileBlock(u64::from(chunk).saturating_mul(u64::from(CHUNK_BLOCKS)))
}

/// The transaction.
fn add(
    m: &Arc<Mount>,
    mut txn: Txn<'_>,
    group: &Group,
    mut inner: AgWrite<'_>,
    place: Place,
    claim: Claim,
) -> Result {
    let (block, n) = place_of(place.chunk);
    let header = m.ag(group.ag)?.header(m)?;
    let old_map = map_block(m, group, &inner, block)?;

    let map = match old_map {
        Some(map) => map,
        None => add_map_block(m, &mut txn, group, &mut inner, block, place.goal)?,
    };
    let range = claim.range();
    txn.use_claim(claim)?;
    init_slots(m, &mut txn, group, place.chunk, range)?;
    let extent = Extent {
        file: first_block(place.chunk),
        disk: range.start,
        len: CHUNK_BLOCKS,
        unwritten: false,
    };
    hidden::insert(
        m,
        &mut txn,
        Owner::inode_file(group.ag),
        &mut inner.file,
        extent,
    )?;

    let done = txn.modify(&map, |b| set_chunk(b, n, true));
    if !done {
        return Err(broken(group.ag, "counts of the inode map"));
    }
    let counts = (
        inner.inodes.checked_add(CHUNK_INODES),
        inner.free.checked_add(CHUNK_INODES),
    );
    let (Some(inodes), Some(free)) = counts else {
        return Err(broken(group.ag, "inode counts"));
    };
    inner.inodes = inodes;
    inner.free = free;
    txn.count_inodes(i64::from(CHUNK_INODES), i64::from(CHUNK_INODES), 0);
    txn.modify(&header, |b| inner.store(b))?;
    txn.commit()?;

    // If whoever wants it gives up, it goes again.
    group.empty.add(place.chunk);
    let mut pick = group.pick.lock();
    pick.freed(block);
    // A new map block has room for more.
    pick.room.set(block);
    Ok(())
}

/// Appends a block to the inode map.
#[inline(never)]
fn add_map_block(
    m: &Arc<Mount>,
    txn: &mut Txn<'_>,
    group: &Group,
    inner: &mut AgInner,
    index: u32,
    near: DiskBlock,
) -> Result<BufRef> {
    let owner = Owner::inode_map(group.ag);
    let buf = txn.new_meta(near, BlockKind::InodeMap, owner)?;
    txn.modify(&buf, |b| {
        b.write(offset_of!(MapBlock, index), &index.to_le_bytes())
    })?;
    let extent = Extent {
        file: FileBlock(u64::from(index)),
        disk: buf.block(),
        len: 1,
        unwritten: false,
    };
    hidden::insert(m, txn, owner, &mut inner.map, extent)?;
    inner.map_blocks = index.saturating_add(1);
    Ok(buf)
}

/// Marks chunk `n` of a map block as existing with 64 free inodes, or as not existing. False if the
/// counts do not allow it.
pub(super) fn set_chunk(b: &mut crate::engine::txn::BlockMut<'_>, n: u32, exists: bool) -> bool {
    let map = MapBlock::of(b.bytes());
    let (free, present) = (map.free.get(), map.present.get());
    let Some(byte) = map.chunks.get((n / 8) as usize).copied() else {
        return false;
    };
    if map.has_chunk(n) == exists {
        return false;
    }
    let mask = 1_u8 << (n % 8);
    let (byte, free, present) = if exists {
        (
            byte | mask,
            free.checked_add(CHUNK_INODES as u16),
            present.checked_add(1),
        )
    } else {
        (
            byte & !mask,
            free.checked_sub(CHUNK_INODES as u16),
            present.checked_sub(1),
        )
    };
    let (Some(free), Some(present)) = (free, present) else {
        return false;
    };
    let at = offset_of!(MapBlock, chunks).saturating_add((n / 8) as usize);
    b.write(at, &[byte]).is_ok()
        && b.write(offset_of!(MapBlock, free), &free.to_le_bytes())
            .is_ok()
        && b.write(offset_of!(MapBlock, present), &present.to_le_bytes())
            .is_ok()
}

/// Makes the eight blocks of a new chunk 64 free slots.
#[inline(never)]
fn init_slots(
    m: &Arc<Mount>,
    txn: &mut Txn<'_>,
    group: &Group,
    chunk: u32,
    range: BlockRange,
) -> Result {
    let owner = Owner::inode_file(group.ag);
    let mut index = chunk.saturating_mul(CHUNK_INODES);
    txn.log_inode_init(range.start, Ino::new(group.ag, index));
    for i in 0..u64::from(CHUNK_BLOCKS) {
        let buf = m
            .buf()
            .fresh(range.start.saturating_add(i), INODE_BLOCK, owner)?;
        txn.modify_ordered(&buf, |b| {
            let block = b.whole();
            for k in 0..INODES_PER_BLOCK {
                let ino = Ino::new(group.ag, index.saturating_add(k));
                if let Some(slot) = InodeSlot::of_mut(block, ino) {
                    slot.reset(m.context(), ino, 0);
                    slot.seal(m.context(), Lsn(0));
                }
            }
        });
        index = index.saturating_add(INODES_PER_BLOCK);
    }
    Ok(())
}
