// SPDX-License-Identifier: GPL-2.0

//! The end of an inode.
//!
//! When the last name has gone the inode is an orphan, and its last user hands it to inodegc:
//! freeing its blocks takes transactions, and the last user may be in the middle of memory reclaim
//! (rules M1). Each allocation group has a list; a few background workers share the groups. The
//! blocks go in rolling transactions of bounded size, and the number becomes free in the last one,
//! after which nothing waits for anything.
//!
//! Work is drained for sync, freeze, remount read-only and unmount, and when there is no space.

use super::symlink;
use crate::{
    engine::{
        btree::{destroy::Progress, Dirents, Tree},
        error::Result,
        file,
        fork::{Fork, ForkFormat},
        ialloc::{Group, MapDelta, MapOp},
        inode::{Core, InodeRef},
        locks::GcWorkersLock,
        mount::Mount,
        txn::res,
        xattr,
    },
    format::{dirent::FileType, header::Owner},
    sys::{self, Arc, Spin, Vec, Work, WorkItem},
};

/// Most background workers of a mount.
const MOST_WORKERS: usize = 4;
/// Inodes of a group that are inactivated together, if so many come before the time is over.
const BATCH: usize = 256;
/// How long an inode waits for others to be inactivated with, in milliseconds. XFS's background
/// inactivation waits, too (`xfs_inodegc_queue`).
const DELAY: u64 = 20;

/// The background workers of a mount; none before [`start_inodegc`] and after [`stop_inodegc`].
pub(crate) struct GcWorkers {
    items: Spin<Option<Arc<Vec<WorkItem>>>, GcWorkersLock>,
}

impl GcWorkers {
    /// No workers.
    pub(crate) fn new() -> Self {
        Self {
            items: Spin::new(None),
        }
    }

    fn get(&self) -> Option<Arc<Vec<WorkItem>>> {
        self.items.lock().clone()
    }
}

/// One worker: every `step`-th group from `first` on.
struct Worker {
    m: Arc<Mount>,
    first: usize,
    step: usize,
}

impl Worker {
    /// Some could not be freed yet, or came meanwhile.
    fn come_back(&self) {
        let items = self.m.inodes.workers.get();
        if let Some(item) = items.as_ref().and_then(|items| items.get(self.first)) {
            item.kick_after(DELAY);
        }
    }
}

impl Work for Worker {
    fn run(&self) {
        for group in self
            .m
            .inodes
            .groups()
            .iter()
            .skip(self.first)
            .step_by(self.step)
        {
            drain(&self.m, group);
            if group.doomed.len() != 0 {
                self.come_back();
            }
        }
    }
}

/// Starts the background workers. They keep the mount alive until [`stop_inodegc`]. May sleep.
/// ENOMEM.
pub fn start_inodegc(m: &Arc<Mount>) -> Result {
    let step = m.inodes.groups().len().clamp(1, MOST_WORKERS);
    let mut items: Vec<WorkItem> = Vec::try_with_capacity(step)?;
    for first in 0..step {
        let worker = Worker {
            m: m.clone(),
            first,
            step,
        };
        let worker = sys::try_arc(worker)?;
        let item = match items.first() {
            None => WorkItem::new("latchfs-inodegc", worker)?,
            Some(first) => first.beside(worker)?,
        };
        items.try_push(item)?;
    }
    let items = sys::try_arc(items)?;
    let old = m.inodes.workers.items.lock().replace(items);
    drop(old);
    Ok(())
}

/// Stops the background workers; what they have not done is left to [`inodegc_flush`]. May sleep;
/// not from a worker.
pub fn stop_inodegc(m: &Arc<Mount>) {
    let items = m.inodes.workers.items.lock().take();
    for item in items.iter().flat_map(|items| items.iter()) {
        item.stop();
    }
}

/// The last use of `inode` by somebody who had it open ends: the VFS dropped its inode. If the
/// inode has no name left it is going to be freed in the background; otherwise this only drops the
/// reference. Called when the VFS inode is not found any more, so that the number's next life
/// never waits for this one. Never waits for a transaction or a lock that one holds.
pub fn inactivate_later(m: &Arc<Mount>, inode: InodeRef) {
    if inode.ftype() == Some(FileType::Regular) {
        file::evict(m, &inode);
    }
    if inode.links() != 0 || m.read_only() {
        return;
    }
    let Ok(group) = m.inodes.group(inode.ino.ag()) else {
        return;
    };
    if inode.state.set_queued() {
        let ag = group.ag.0 as usize;
        let waiting = group.doomed.add(inode);
        if let Some(items) = m.inodes.workers.get() {
            if let Some(item) = ag.checked_rem(items.len()).and_then(|n| items.get(n)) {
                // Who unlinks many would meet the worker at the locks of the group for each one.
                if waiting < BATCH {
                    item.kick_after(DELAY);
                } else {
                    item.kick();
                }
            }
        }
    }
}

/// Asks for what was handed to inodegc to be done soon: statfs(2) does, so that deleted files show up
/// as free space. Does not sleep.
pub fn inodegc_kick(m: &Mount) {
    let Some(items) = m.inodes.workers.get() else {
        return;
    };
    for (first, item) in items.iter().enumerate() {
        let mut groups = m
            .inodes
            .groups()
            .iter()
            .skip(first)
            .step_by(items.len().max(1));
        if groups.any(|group| group.doomed.len() != 0) {
            item.kick();
        }
    }
}

/// Does everything that was handed to inodegc before this call. No locks and no transaction may be
/// held. May sleep. Inodes that cannot be freed now (an I/O error, a user left) stay orphans.
pub fn inodegc_flush(m: &Arc<Mount>) -> Result {
    if let Some(items) = m.inodes.workers.get() {
        for item in items.iter() {
            item.kick();
        }
        for item in items.iter() {
            item.flush();
        }
        return Ok(());
    }
    if m.inodes.groups().iter().all(|g| g.doomed.len() == 0) {
        return Ok(());
    }
    // Never on the stack of whoever needs the space: that may be deep in an operation already.
    let worker = Worker {
        m: m.clone(),
        first: 0,
        step: 1,
    };
    let item = WorkItem::new("latchfs-inodegc", sys::must_arc(worker))?;
    item.kick();
    item.flush();
    item.stop();
    Ok(())
}

/// Inactivates all inodes on the list of a group.
fn drain(m: &Arc<Mount>, group: &Group) {
    for inode in group.doomed.take() {
        inode.state.clear_queued();
        if inode.links() != 0 {
            // It has a name again.
            continue;
        }
        if !inode.state.retire() {
            // A lookup by handle is about to see that it comes too late, or an I/O ends.
            if inode.state.set_queued() {
                group.doomed.add(inode);
            }
            continue;
        }
        sys::sync_point!("inodegc.item", inode.ino.0);
        if let Err(e) = inactivate(m, &inode) {
            sys::pr_err!("inode {} cannot be freed: {}\n", inode.ino, e);
        }
    }
}

/// Frees what the inode has and then its number.
#[inline(never)]
fn inactivate(m: &Arc<Mount>, inode: &InodeRef) -> Result {
    // The last user but this one may have been link(2).
    if inode.links() != 0 {
        inode.state.clear_inactive();
        return Ok(());
    }
    // Most files have few extents: those go with the number.
    let small = inode.ftype() == Some(FileType::Regular) && file::is_inline(&inode.ilock.read());
    match inode.ftype() {
        Some(FileType::Regular) if !small => file::free_all(m, inode)?,
        Some(FileType::Directory) => free_tree(m, inode)?,
        _ => {}
    }
    xattr::free_all(m, inode)?;
    free_number(m, inode, small)
}

/// The last transaction: the number becomes free.
#[inline(never)]
fn free_number(m: &Arc<Mount>, inode: &InodeRef, small: bool) -> Result {
    let res = if small {
        res::INACTIVATE_FILE
    } else {
        res::INACTIVATE
    };
    let mut txn = m.begin(res)?;
    let mut inner = inode.ilock.write();
    let mut delta = MapDelta::new(m);
    delta.add(inode.ino, MapOp::Free)?;
    txn.join_inode(inode)?;

    if small {
        file::free_inline(m, &mut txn, inode, &mut inner)?;
    }
    if inner.core.ftype() == Some(FileType::Symlink) {
        symlink::free_target(&mut txn, &inner)?;
    }
    inner.core = Core {
        generation: inner.core.generation,
        ..Core::default()
    };
    inner.data = Fork::default();
    inner.attrs = Fork::default();
    txn.log_inode(inode, &inner)?;
    let locks = delta.apply(&mut txn)?;
    txn.commit()?;
    // Still under the AG inode lock: whoever takes the number finds the object reusable.
    inode.state.set_free();
    drop(locks);
    Ok(())
}

/// Blocks that one transaction of [`free_tree`] frees at most.
const TREE_STEP: u32 = 32;

/// Frees the tree of a directory. A removed directory is empty, so there is one only on a corrupt
/// file system, and what its entries point at is for fsck to find.
#[inline(never)]
fn free_tree(m: &Arc<Mount>, inode: &InodeRef) -> Result {
    if inode.ilock.read().data.format != ForkFormat::DirTree {
        return Ok(());
    }
    sys::pr_err!(
        "corruption in directory {}: it was removed and is not empty\n",
        inode.ino
    );
    let tree = Tree::<Dirents>::new(Owner::inode(inode.ino));
    loop {
        let mut txn = m.begin(res::DIR_FREE)?;
        let mut inner = inode.ilock.write();
        txn.join_inode(inode)?;
        let done = tree.destroy_step(m, &mut txn, &mut inner.data.root, TREE_STEP, |_| true)?;
        if matches!(done, Progress::Done) {
            inner.data = Fork::new(ForkFormat::InlineDir);
            inner.share_literal();
            inner.core.disk_size = 0;
        }
        txn.log_inode(inode, &inner)?;
        txn.commit()?;
        if matches!(done, Progress::Done) {
            return Ok(());
        }
    }
}
