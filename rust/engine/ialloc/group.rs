// SPDX-License-Identifier: GPL-2.0

//! What is in memory for the inodes of an allocation group.

use super::hints::BitSet;
use crate::{
    engine::{
        error::{Error, Result},
        extents::reclaim::Clock,
        fork::{Fork, ForkFormat, HIDDEN_FORK_BYTES},
        inode::{bag::Bag, cache::Cache, InodeRef},
        locks::{AgInodeLock, EmptyChunks, InodeClaims, InodeGcList},
        mount::Mount,
        namespace::GcWorkers,
        txn::BlockMut,
    },
    format::{
        ag::{AgHeader, FileRoot},
        limits::MAP_CHUNKS,
        units::AgNumber,
    },
    sys::{
        atomic::AtomicU32,
        Errno,
        RwSem,
        RwSemReadGuard,
        RwSemWriteGuard,
        Spin,
        Vec, //
    },
};
use core::mem::offset_of;
use zerocopy::IntoBytes as _;

/// All inodes of a mount: one [`Group`] for each allocation group.
pub struct InodeSpace {
    groups: Vec<Group>,
    /// Number to object.
    pub(crate) cache: Cache,
    /// Whose extents memory reclaim looks at next.
    pub(crate) extents: Clock,
    /// Where the next directory goes.
    pub(super) rotor: AtomicU32,
    /// Background work.
    pub(crate) workers: GcWorkers,
}

impl InodeSpace {
    /// For a file system of `ag_count` groups. No I/O, no large memory. ENOMEM.
    pub fn new(ag_count: u32) -> Result<Self> {
        let mut groups = Vec::try_with_capacity(ag_count as usize)?;
        for ag in 0..ag_count {
            Group::push(&mut groups, AgNumber(ag))?;
        }
        Ok(Self {
            groups,
            cache: Cache::new()?,
            extents: Clock::default(),
            rotor: AtomicU32::new(0),
            workers: GcWorkers::new(),
        })
    }

    /// The group `ag`. EUCLEAN if there is none.
    pub(crate) fn group(&self, ag: AgNumber) -> Result<&Group> {
        self.groups
            .get(ag.0 as usize)
            .ok_or_else(|| Error::new(Errno::UCLEAN))
    }

    /// All groups.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }
}

/// The inodes of one allocation group.
pub(crate) struct Group {
    /// Its number.
    pub(crate) ag: AgNumber,
    /// The AG inode lock and what it protects.
    lock: RwSem<AgInner, AgInodeLock>,
    /// Numbers that are taken in memory, and where free ones may be.
    pub(super) pick: Spin<Pick, InodeClaims>,
    /// Inodes whose last user has gone.
    pub(crate) doomed: Bag<InodeRef, InodeGcList>,
    /// Chunks that may be empty: new ones, and those whose last inode was freed.
    pub(super) empty: Bag<u32, EmptyChunks>,
}

/// What the AG inode lock protects: the inode part of the AG header, and the map itself.
pub(crate) struct AgInner {
    /// The rest was read from the header.
    loaded: bool,
    /// Extents of the inode file.
    pub(super) file: Fork,
    /// Extents of the inode map.
    pub(super) map: Fork,
    /// Blocks of the inode map.
    pub(super) map_blocks: u32,
    /// Slots in chunks that exist.
    pub(crate) inodes: u32,
    /// Free ones among them.
    pub(crate) free: u32,
    /// Orphans.
    pub(crate) orphans: u32,
}

/// Claimed numbers and hints.
pub(super) struct Pick {
    /// Indexes claimed by creations under way: few.
    pub(super) claims: Vec<u32>,
    /// Map blocks that may have a free number in an existing chunk. A member may turn out to have
    /// none; one that is not a member has none.
    pub(super) free: BitSet,
    /// Map blocks that may lack a chunk.
    pub(super) room: BitSet,
    /// Counts events that add to `free`, so that a search that found nothing knows whether it may
    /// say so.
    pub(super) epoch: u64,
}

impl Pick {
    /// A number of map block `block` became free.
    pub(super) fn freed(&mut self, block: u32) {
        self.free.set(block);
        self.epoch = self.epoch.wrapping_add(1);
    }
}

/// The AG inode lock held shared.
pub(crate) type AgRead<'a> = RwSemReadGuard<'a, AgInner>;
/// The AG inode lock held exclusively.
pub(crate) type AgWrite<'a> = RwSemWriteGuard<'a, AgInner>;

impl Group {
    /// Adds a group to `groups`, which has room for it. Not inline: a group is some hundred bytes.
    #[inline(never)]
    fn push(groups: &mut Vec<Self>, ag: AgNumber) -> Result {
        Ok(groups.try_push(Self {
            ag,
            lock: RwSem::new(AgInner {
                loaded: false,
                file: Fork::hidden(),
                map: Fork::hidden(),
                map_blocks: 0,
                inodes: 0,
                free: 0,
                orphans: 0,
            }),
            pick: Spin::new(Pick {
                claims: Vec::new(),
                free: BitSet::none(),
                room: BitSet::none(),
                epoch: 0,
            }),
            doomed: Bag::new(),
            empty: Bag::new(),
        })?)
    }

    /// Takes the AG inode lock shared; reads the AG header the first time. May sleep. EIO, ENOMEM,
    /// EUCLEAN.
    pub(crate) fn read(&self, m: &Mount) -> Result<AgRead<'_>> {
        loop {
            let inner = self.lock.read();
            if inner.loaded {
                return Ok(inner);
            }
            drop(inner);
            // Loaded groups stay loaded, so this is once for each group.
            drop(self.write(m, 0)?);
        }
    }

    /// Takes the AG inode lock exclusively, otherwise as [`Self::read`]. `nest` counts the AG inode
    /// locks of smaller groups that the caller holds.
    pub(crate) fn write(&self, m: &Mount, nest: u32) -> Result<AgWrite<'_>> {
        let mut inner = self.lock.write_nested(nest);
        if !inner.loaded {
            self.load(m, &mut inner)?;
        }
        Ok(inner)
    }

    fn load(&self, m: &Mount, inner: &mut AgInner) -> Result {
        let buf = m.ag(self.ag)?.header(m)?;
        let bytes = buf.data();
        let header = AgHeader::of(&bytes);
        let file = root_to_fork(&header.inode_file)?;
        let map = root_to_fork(&header.inode_map)?;

        let limit = m.geo().max_chunks(self.ag).div_ceil(MAP_CHUNKS);
        let mut free = BitSet::new(limit)?;
        let mut room = BitSet::new(limit)?;
        for block in 0..header.map_blocks.get() {
            free.set(block);
            room.set(block);
        }
        {
            let mut pick = self.pick.lock();
            core::mem::swap(&mut pick.free, &mut free);
            core::mem::swap(&mut pick.room, &mut room);
        }
        inner.file = file;
        inner.map = map;
        inner.map_blocks = header.map_blocks.get();
        inner.inodes = header.inodes.get();
        inner.free = header.free_inodes.get();
        inner.orphans = header.orphans.get();
        inner.loaded = true;
        Ok(())
    }

    /// Numbers claimed now.
    pub(super) fn claimed(&self) -> usize {
        self.pick.lock().claims.len()
    }
}

fn root_to_fork(root: &FileRoot) -> Result<Fork> {
    // The header's verifier has seen that the format is one of the two.
    let format = ForkFormat::from_disk(root.format).ok_or_else(|| Error::new(Errno::UCLEAN))?;
    Fork::from_disk(format, root.depth, root.used(), 0, HIDDEN_FORK_BYTES)
}

impl AgInner {
    /// Writes the counts into the header.
    pub(super) fn store_counts(&self, b: &mut BlockMut<'_>) -> Result {
        b.write(
            offset_of!(AgHeader, map_blocks),
            &self.map_blocks.to_le_bytes(),
        )?;
        b.write(offset_of!(AgHeader, inodes), &self.inodes.to_le_bytes())?;
        b.write(offset_of!(AgHeader, free_inodes), &self.free.to_le_bytes())?;
        b.write(offset_of!(AgHeader, orphans), &self.orphans.to_le_bytes())
    }

    /// Writes counts and roots into the header. EUCLEAN if a root does not fit, which cannot be.
    pub(super) fn store(&self, b: &mut BlockMut<'_>) -> Result {
        self.store_counts(b)?;
        for (fork, at) in [
            (&self.file, offset_of!(AgHeader, inode_file)),
            (&self.map, offset_of!(AgHeader, inode_map)),
        ] {
            let mut root = FileRoot::default();
            let mut scratch = [0; 8];
            let (format, depth, bytes) = fork.to_disk(&mut scratch);
            if !root.set(format, depth, bytes) {
                return Err(Error::new(Errno::UCLEAN));
            }
            b.write(at, root.as_bytes())?;
        }
        Ok(())
    }
}
