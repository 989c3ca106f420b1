// SPDX-License-Identifier: GPL-2.0

//! Mount, remount, unmount, sync, freeze, statfs.

use super::error::to_error;
use super::error::Edge as _;
use super::inode;
use super::inode::push_attrs;
use super::options::Live;
use super::options::Options;
use super::sysfs;
use super::IRef;
use super::Inode;
use super::Latchfs;
use super::SuperBlock;
use crate::bindings;
use crate::engine::file;
use crate::engine::inode::InodeRef;
use crate::engine::mount::Mount;
use crate::engine::mount::MountOpts;
use crate::engine::namespace;
use crate::format::limits;
use crate::format::units::BLOCK_SIZE;
use crate::kapi::fs_context::ContextOps;
use crate::kapi::fs_context::MountLog;
use crate::kapi::fs_context::Parameter;
use crate::kapi::ioend::Workqueue;
use crate::kapi::seq_file::SeqFile;
use crate::kapi::shrinker::Shrink;
use crate::kapi::shrinker::Shrinker;
use crate::kapi::statfs::StatFs;
use crate::kapi::super_types::NewSuper;
use crate::kapi::super_types::SuperOps;
use crate::kapi::super_types::SuperParams;
use crate::sys::Arc;
use kernel::prelude::*;

/// What statfs(2) reports as the type: `LTCH`.
pub const MAGIC: u32 = 0x4c54_4348;

/// What memory reclaim may take: metadata buffers and inodes that are clean and unused, indexes of
/// free space, and of the extent indexes what the disk has.
pub struct Caches(Arc<Mount>);

impl Shrink for Caches {
    fn count(&self) -> usize {
        let buffers = usize::try_from(self.0.buf().count()).unwrap_or(usize::MAX);
        buffers
            .saturating_add(crate::engine::inode::cached(&self.0))
            .saturating_add(file::cached(&self.0))
    }

    fn scan(&self, n: usize) -> usize {
        let inodes = crate::engine::inode::reclaim(&self.0, n);
        let buffers = self.0.buf().reclaim(n.saturating_sub(inodes));
        if inodes.saturating_add(buffers) < n {
            // The rest is not in its place yet.
            self.0.push_for_memory();
        }
        let runs = self.0.alloc().shrink();
        let pieces = file::reclaim(&self.0, n);
        inodes
            .saturating_add(buffers)
            .saturating_add(runs as usize)
            .saturating_add(pieces)
    }
}

/// What latchfs keeps beside a super block. The fields are dropped in this order.
pub struct Super {
    /// Gives memory back.
    pub shrinker: Shrinker<Caches>,
    /// `/sys/fs/latchfs/<device>`.
    pub sysfs: sysfs::Tree,
    /// The engine.
    pub mount: Arc<Mount>,
    /// Runs the completions of writeback.
    pub completions: Workqueue,
    /// Options in force.
    pub options: Live,
    /// Alignment of memory and offset for direct I/O, in bytes.
    pub dio_align: u32,
    /// Files in debugfs, if there was memory for them.
    #[cfg(latchfs_races)]
    pub races: Option<super::races::MountFiles>,
}

impl ContextOps for Latchfs {
    fn options(mounted: Option<&SuperBlock>) -> Options {
        match mounted {
            Some(sb) => sb.data().options.get(),
            None => Options::DEFAULT,
        }
    }

    fn set_option(options: &mut Options, parameter: Parameter) -> Result {
        options.set(parameter)
    }

    fn open(sb: &NewSuper<'_, Self>, options: Options, log: &MountLog) -> Result<Super> {
        if options.norecovery && !sb.rdonly() {
            log.error(c"norecovery needs a read-only mount");
            return Err(EINVAL);
        }
        if sb.set_block_size(BLOCK_SIZE as u32).is_err() {
            log.error(c"the device's blocks are larger than 4096 bytes");
            return Err(EINVAL);
        }
        let completions = Workqueue::new(sb.id())?;
        let opts = MountOpts {
            read_only: sb.rdonly(),
            errors: options.on_error.for_engine(),
            background: true,
            norecovery: options.norecovery,
        };
        let mount = Mount::open(sb.device()?, opts).map_err(to_error)?;
        sb.set(&SuperParams {
            magic: MAGIC,
            uuid: mount.uuid(),
            max_links: limits::MAX_LINKS,
        });
        apply(&mount, &options);
        let (shrinker, sysfs) = visible(sb, &mount).inspect_err(|_| {
            // The error is already there; nothing was changed.
            let _ = mount.unmount();
        })?;
        Ok(Super {
            #[cfg(latchfs_races)]
            races: super::races::MountFiles::new(&mount, sb.id()).ok(),
            shrinker,
            sysfs,
            mount,
            completions,
            options: Live::new(&options),
            dio_align: sb.logical_block_size(),
        })
    }

    fn root(sb: &SuperBlock) -> Result<IRef> {
        let m = &sb.data().mount;
        let root = crate::engine::inode::iget(m, m.root_ino()).edge(sb)?;
        if u32::from(root.attrs().mode) & bindings::S_IFMT != bindings::S_IFDIR {
            return Err(EUCLEAN);
        }
        inode::iget(sb, root)
    }

    fn mounted(sb: &SuperBlock) -> Result {
        warn_of_discard(sb, &sb.data().options.get());
        if !sb.rdonly() {
            start_writing(sb)?;
        }
        Ok(())
    }

    fn reconfigure(sb: &SuperBlock, options: Options, rdonly: bool, log: &MountLog) -> Result {
        let data = sb.data();
        if rdonly && !sb.rdonly() {
            sb.sync_filesystem()?;
            data.mount.set_read_only(true).edge(sb)?;
        } else if !rdonly && sb.rdonly() {
            if data.options.get().norecovery || data.mount.is_shutdown() {
                log.error(c"cannot be mounted for writing without unmounting it first");
                return Err(EROFS);
            }
            data.mount.set_read_only(false).edge(sb)?;
            if data.mount.check_writable().is_err() {
                log.error(c"there were errors: run fsck.latchfs");
                return Err(EROFS);
            }
            start_writing(sb)?;
        }
        data.mount.set_on_error(options.on_error.for_engine());
        apply(&data.mount, &options);
        warn_of_discard(sb, &options);
        data.options.set(&options);
        Ok(())
    }
}

/// Passes on to the engine what may change at any time.
fn apply(m: &Mount, options: &Options) {
    m.set_commit_interval(options.commit);
    m.set_discard(options.discard);
}

/// Makes what the rest of the kernel sees of a mount beside its files.
fn visible(sb: &NewSuper<'_, Latchfs>, m: &Arc<Mount>) -> Result<(Shrinker<Caches>, sysfs::Tree)> {
    let sysfs = sysfs::Tree::new(sb.sysfs_dir(())?, m)?;
    Ok((Shrinker::new(sb.id(), Caches(m.clone()))?, sysfs))
}

fn warn_of_discard(sb: &SuperBlock, options: &Options) {
    if options.discard && sb.discard_granularity().is_none() {
        crate::sys::pr_warn!("{}: the device cannot discard\n", sb.id());
    }
}

/// What a mount that may change things needs, from mount on or from remount on.
fn start_writing(sb: &SuperBlock) -> Result {
    start_inodegc(sb)?;
    namespace::recover_orphans(&sb.data().mount).edge(sb)
}

/// Starts to free deleted files in the background, those that wait first.
fn start_inodegc(sb: &SuperBlock) -> Result {
    let m = &sb.data().mount;
    namespace::stop_inodegc(m);
    namespace::start_inodegc(m).edge(sb)?;
    namespace::inodegc_flush(m).edge(sb)
}

/// What was stopped for a freeze goes on. Errors are only told: after one the VFS would keep the
/// file system frozen, and its users waiting.
fn thaw(sb: &SuperBlock) {
    let m = &sb.data().mount;
    if m.is_shutdown() {
        return;
    }
    if let Err(e) = m.thaw().edge(sb).and_then(|()| start_inodegc(sb)) {
        crate::sys::pr_warn!("{}: after a freeze: error {}\n", sb.id(), e.to_errno());
    }
}

impl SuperOps for Latchfs {
    fn destroy_inode(sb: &SuperBlock, inode: InodeRef) {
        namespace::inactivate_later(&sb.data().mount, inode);
    }

    fn write_inode(inode: &Inode, _wait: bool) -> Result {
        if inode.nlink() == 0 || inode.sb().data().mount.is_shutdown() {
            return Ok(());
        }
        push_attrs(inode)
    }

    fn put_super(sb: &SuperBlock) {
        if let Err(e) = sb.data().mount.unmount() {
            crate::sys::pr_err!("{}: unmount: {}\n", sb.id(), e);
        }
    }

    fn sync_fs(sb: &SuperBlock, wait: bool) -> Result {
        if wait && !sb.rdonly() {
            sb.data().mount.sync().edge(sb)?;
        }
        Ok(())
    }

    fn freeze_fs(sb: &SuperBlock) -> Result {
        if !sb.rdonly() {
            let m = &sb.data().mount;
            // What is deleted from now on waits for the thaw: nothing else writes in the
            // background once all is on the device.
            namespace::stop_inodegc(m);
            m.freeze().edge(sb).inspect_err(|_| thaw(sb))?;
        }
        Ok(())
    }

    fn unfreeze_fs(sb: &SuperBlock) -> Result {
        if !sb.rdonly() {
            thaw(sb);
        }
        Ok(())
    }

    fn shutdown(sb: &SuperBlock) {
        sb.data().mount.shutdown("the device is gone");
    }

    fn statfs(sb: &SuperBlock) -> Result<StatFs> {
        let m = &sb.data().mount;
        // Deleted files still count: the next call sees fewer of them (rules M23).
        namespace::inodegc_kick(m);
        let stat = m.statfs();
        Ok(StatFs {
            magic: MAGIC,
            block_size: BLOCK_SIZE as u32,
            blocks: stat.blocks,
            free: stat.free,
            available: stat.available,
            inodes: stat.inodes,
            free_inodes: stat.free_inodes,
            name_len: limits::MAX_NAME as u32,
            uuid: m.uuid(),
        })
    }

    fn show_options(sb: &SuperBlock, seq: &SeqFile) {
        sb.data().options.show(seq);
    }
}
