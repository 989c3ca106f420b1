// SPDX-License-Identifier: GPL-2.0

//! Reading the inode map and the inode file.

use super::group::{AgInner, Group};
use crate::{
    engine::{
        buf::BufRef,
        error::{Error, Result},
        inode::flush::INODE_BLOCK,
        mount::Mount,
    },
    format::{
        header::{BlockKind, Owner},
        imap::MapBlock,
        limits::MAP_CHUNKS,
        units::{AgNumber, DiskBlock, FileBlock, Ino, CHUNK_INODES},
    },
    sys::{self, Errno, Vec},
};

/// What the inode map says of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Free, or its chunk does not exist.
    Free,
    /// In use.
    Used,
    /// In use, to be finished or freed after a crash.
    Orphan,
}

/// Where a chunk is in the map: map block, and chunk in it.
pub(super) fn place_of(chunk: u32) -> (u32, u32) {
    (chunk / MAP_CHUNKS, chunk % MAP_CHUNKS)
}

/// Map block `block` of the group; `None` if the map ends before it. The caller holds the AG inode
/// lock. May sleep.
pub(super) fn map_block(
    m: &Mount,
    group: &Group,
    inner: &AgInner,
    block: u32,
) -> Result<Option<BufRef>> {
    if block >= inner.map_blocks {
        return Ok(None);
    }
    let owner = Owner::inode_map(group.ag);
    let at = super::hidden::lookup(m, owner, &inner.map, FileBlock(u64::from(block)))?;
    let Some(at) = at else {
        return Err(broken(group.ag, "the inode map has a hole"));
    };
    let buf = m.buf().read(at, BlockKind::InodeMap, owner)?;
    if MapBlock::of(&buf.data()).index.get() != block {
        return Err(Error::corrupt(at.0, "index of the inode map block"));
    }
    Ok(Some(buf))
}

/// Logs corruption of the group's hidden files.
#[track_caller]
pub(super) fn broken(ag: AgNumber, what: &str) -> Error {
    sys::pr_err!("corruption in allocation group {}: {}\n", ag, what);
    Error::new(Errno::UCLEAN)
}

/// What the map says of `ino`. The caller holds the AG inode lock. May sleep.
pub(crate) fn status(m: &Mount, group: &Group, inner: &AgInner, ino: Ino) -> Result<Status> {
    let (block, n) = place_of(ino.chunk());
    let Some(buf) = map_block(m, group, inner, block)? else {
        return Ok(Status::Free);
    };
    let bytes = buf.data();
    let bit = 1_u64 << ino.chunk_bit();
    Ok(match MapBlock::of(&bytes).chunk(n) {
        Some(masks) if masks.alloc.get() & bit == 0 => Status::Free,
        Some(masks) if masks.orphan.get() & bit == 0 => Status::Used,
        Some(_) => Status::Orphan,
        None => Status::Free,
    })
}

/// The block with the slot of `ino`, whose chunk exists. The caller holds the AG inode lock. May
/// sleep.
pub(crate) fn inode_block(
    m: &Mount,
    group: &Group,
    inner: &AgInner,
    ino: Ino,
) -> Result<DiskBlock> {
    let owner = Owner::inode_file(group.ag);
    super::hidden::lookup(m, owner, &inner.file, ino.file_block())?.ok_or_else(|| {
        broken(
            group.ag,
            "a chunk of the inode map is a hole in the inode file",
        )
    })
}

/// Share of an allocation group, at its beginning, that is left to inode chunks as long as there is
/// space elsewhere: one in so many blocks.
const CHUNK_SHARE: u32 = 16;

/// Where the blocks of inode `ino` are best, if it has none yet: in its group, behind the part where
/// the inode file grows. So chunks of inodes stay together, and the inode file has few extents
/// (rules P7), without keeping anything from anybody.
pub(crate) fn goal_of(m: &Mount, ino: Ino) -> DiskBlock {
    let geo = m.geo();
    let ag = ino.ag();
    let head = geo.head_end(ag);
    let inside = head.saturating_add(geo.ag_len(ag) / CHUNK_SHARE);
    geo.disk_block(ag, inside)
        .or_else(|| geo.disk_block(ag, head))
        .unwrap_or_default()
}

/// Reads a block of inode slots. May sleep.
pub(crate) fn read_block(m: &Mount, ag: AgNumber, block: DiskBlock) -> Result<BufRef> {
    m.buf().read(block, INODE_BLOCK, Owner::inode_file(ag))
}

/// Starts reading the blocks of the slots of these inodes, ascending. Numbers that cannot be, and
/// errors, are left to whoever needs the inode. Takes the AG inode locks shared, one after the
/// other. May sleep for memory, not for I/O of inode blocks.
pub(crate) fn readahead(m: &Mount, inos: &[Ino]) {
    let mut rest = inos;
    while let Some(first) = rest.first() {
        let ag = first.ag();
        let same = rest.iter().take_while(|ino| ino.ag() == ag).count();
        let (mine, others) = rest.split_at_checked(same).unwrap_or((rest, &[]));
        rest = others;
        if let Ok(group) = m.inodes.group(ag) {
            let _ = readahead_group(m, group, mine);
        }
    }
}

fn readahead_group(m: &Mount, group: &Group, inos: &[Ino]) -> Result {
    let inner = group.read(m)?;
    let owner = Owner::inode_file(group.ag);
    let mut last = None;
    for ino in inos {
        let file = ino.file_block();
        if last == Some(file) {
            continue;
        }
        last = Some(file);
        if let Some(at) = super::hidden::lookup(m, owner, &inner.file, file)? {
            m.buf().readahead(at, INODE_BLOCK, owner);
        }
    }
    Ok(())
}

/// Reads the block with the slot of `ino`, whose chunk exists. Takes the AG inode lock shared; may
/// sleep.
pub(crate) fn read_inode_block(m: &Mount, ino: Ino) -> Result<BufRef> {
    let group = m.inodes.group(ino.ag())?;
    let block = inode_block(m, group, &*group.read(m)?, ino)?;
    // The chunk cannot go away: the caller's inode is in it, in memory.
    read_block(m, group.ag, block)
}

/// The numbers of all orphans of the group, found by counts: without orphans only the header is
/// read, and only map blocks that have some (rules M4). Takes the AG inode lock shared. May sleep.
pub(crate) fn orphans_of(m: &Mount, group: &Group, found: &mut Vec<Ino>) -> Result {
    let inner = group.read(m)?;
    if inner.orphans == 0 {
        return Ok(());
    }
    for block in 0..inner.map_blocks {
        let Some(buf) = map_block(m, group, &inner, block)? else {
            break;
        };
        let bytes = buf.data();
        let map = MapBlock::of(&bytes);
        if map.orphans.get() == 0 {
            continue;
        }
        for n in 0..MAP_CHUNKS {
            let Some(masks) = map.chunk(n) else { continue };
            let mut rest = masks.orphan.get();
            while rest != 0 {
                let bit = rest.trailing_zeros();
                rest &= rest - 1;
                let index = block
                    .saturating_mul(MAP_CHUNKS)
                    .saturating_add(n)
                    .saturating_mul(CHUNK_INODES)
                    .saturating_add(bit);
                found.try_push(Ino::new(group.ag, index))?;
            }
        }
    }
    Ok(())
}
