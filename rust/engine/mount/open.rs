// SPDX-License-Identifier: GPL-2.0

//! Mounting: what must be true before anything else is believed.

use super::*;
use crate::engine::health::Health;
use crate::engine::recovery;
use crate::format::{
    defect::DefectKind,
    limits::{FORMAT_REV, VERSION},
    superblock::{STATE_CLEAN, STATE_ERRORS},
    BlockRange,
    DiskBlock,
    Lsn, //
};
use crate::sys::{self, Device};
use zerocopy::little_endian::{I64, U16, U32, U64};

/// How to mount.
#[derive(Clone, Copy, Debug, Default)]
pub struct MountOpts {
    /// Change nothing on the device.
    pub read_only: bool,
    /// What to do after an error in metadata.
    pub errors: OnError,
    /// Write dirty metadata in the background when there is much of it.
    pub background: bool,
    /// Do not replay the log: what is seen may be of different moments. For read-only mounts.
    pub norecovery: bool,
}

/// The superblock that the block begins with.
fn superblock(block: &Block) -> Result<&Superblock> {
    Superblock::of(block.as_slice()).ok_or(Error::new(Errno::INVAL))
}

/// Reads the superblock copy at `at`.
fn read_copy(dev: &Device, at: DiskBlock) -> Result<Block> {
    let mut block = Block::try_zeroed()?;
    dev.read_block(at.get(), &mut block)?;
    Ok(block)
}

/// Says why a superblock is refused, and with which errno.
#[inline(never)]
fn refuse(sb: &Superblock, at: DiskBlock, defect: crate::format::Defect) -> Error {
    let (version, rev) = (sb.version.get(), sb.format_rev.get());
    match (defect.field, defect.kind) {
        ("magic", _) => {
            sys::pr_err!("no latchfs on this device\n");
            Error::new(Errno::INVAL)
        }
        ("version" | "format_rev", DefectKind::Unsupported) => {
            let age = if (version, rev) < (VERSION, FORMAT_REV) {
                "old: make the file system again"
            } else {
                "newer than this program"
            };
            sys::pr_err!(
                "format {}.{} of the device is {} (this is for {}.{})\n",
                version,
                rev,
                age,
                VERSION,
                FORMAT_REV
            );
            Error::new(Errno::INVAL)
        }
        ("incompat", DefectKind::Unsupported) => {
            sys::pr_err!(
                "unknown features {:#x}: a newer program is needed\n",
                sb.incompat.get()
            );
            Error::new(Errno::INVAL)
        }
        _ => {
            sys::pr_err!("superblock in block {}: {}\n", at, defect);
            let errno = if defect.is_checksum() {
                Errno::BADMSG
            } else {
                Errno::UCLEAN
            };
            Error::new(errno)
        }
    }
}

/// A damaged superblock has copies, but where they are is written in it. Looks where a file system
/// of the damaged geometry, and one of default geometry, would have the first ones.
#[inline(never)]
fn find_copy(dev: &Device, damaged: &Superblock) -> Option<(Block, Context)> {
    let usual = Geometry::for_device(dev.blocks(), None).map(|g| g.ag_blocks());
    let sizes = [Some(damaged.ag_blocks.get()), usual];
    for size in sizes.into_iter().flatten() {
        for ag in [1_u64, 3, 5, 7, 9] {
            let at = DiskBlock(ag.saturating_mul(u64::from(size)));
            if size == 0 || at.get() >= dev.blocks() {
                continue;
            }
            let Ok(block) = read_copy(dev, at) else {
                continue;
            };
            if let Ok(Ok(context)) = superblock(&block).map(|sb| sb.verify(at)) {
                sys::pr_warn!("using the superblock copy in block {}\n", at);
                return Some((block, context));
            }
        }
    }
    None
}

/// Reads the superblock, or a copy of it if the mount is read-only; the last says whether it is a
/// copy.
#[inline(never)]
fn read_super(dev: &Device, read_only: bool) -> Result<(Block, Context, bool)> {
    let at = DiskBlock(0);
    let block = read_copy(dev, at)?;
    let sb = superblock(&block)?;
    let defect = match sb.verify(at) {
        Ok(context) => return Ok((block, context, false)),
        Err(defect) => defect,
    };
    let error = refuse(sb, at, defect);
    if defect.kind == DefectKind::Unsupported {
        return Err(error);
    }
    // Counters and state of a copy are those of mkfs: good enough to read, not to write.
    match find_copy(dev, sb) {
        Some((block, context)) if read_only => Ok((block, context, true)),
        Some(_) => {
            sys::pr_err!("the superblock is damaged: run fsck, or mount read-only\n");
            Err(error)
        }
        None => Err(error),
    }
}

/// Whether the file system that the superblock describes may be mounted on `dev`, and like this.
#[inline(never)]
fn admit(dev: &Device, sb: &Superblock, context: &Context, read_only: bool) -> Result {
    let blocks = context.geometry.block_count();
    if blocks > dev.blocks() {
        sys::pr_err!(
            "the file system has {} blocks, the device only {}\n",
            blocks,
            dev.blocks()
        );
        return Err(Error::new(Errno::INVAL));
    }
    if !read_only && dev.read_only() {
        return Err(Error::new(Errno::ROFS));
    }
    if !read_only && !sb.can_write() {
        sys::pr_err!(
            "unknown features {:#x}: can be mounted read-only\n",
            sb.ro_compat.get()
        );
        return Err(Error::new(Errno::ROFS));
    }
    if sb.state.get() & STATE_ERRORS != 0 {
        sys::pr_warn!("has {} recorded errors, run fsck\n", sb.error_count.get());
    }
    Ok(())
}

/// Brings what the log has to its place if the file system is not clean, and makes it clean: on
/// the device, and in `block`, which holds the superblock. A read-only mount does the same (as
/// ext4's and XFS's): only a device that cannot be written is left alone.
#[inline(never)]
fn recover(
    dev: &Device,
    block: &mut Block,
    context: &Context,
    skip: bool,
) -> Result<sys::Box<Recovered>> {
    let sb = superblock(block)?;
    let mut recovered = sys::try_box(Recovered::default())?;
    recovered.head = Lsn(sb.lsn.get());
    if sb.is_clean() {
        return Ok(recovered);
    }
    if skip {
        sys::pr_warn!("was not unmounted cleanly; the log is not replayed, as asked for\n");
        return Ok(recovered);
    }
    if dev.read_only() || !sb.can_write() {
        sys::pr_err!("the log has to be replayed, which needs a device that can be written\n");
        sys::pr_err!("(norecovery mounts read-only without it)\n");
        return Err(Error::new(Errno::ROFS));
    }
    *recovered = recovery::recover(dev, context, sb).inspect_err(|error| {
        sys::pr_err!("the log cannot be replayed ({}): run fsck.latchfs\n", error);
    })?;
    store_recovered(dev, block, &recovered)?;
    Ok(recovered)
}

/// Everything is in its place: the superblock says so.
#[inline(never)]
fn store_recovered(dev: &Device, block: &mut Block, recovered: &Recovered) -> Result {
    let sb = Superblock::of_mut(block.as_mut_slice()).ok_or(Error::new(Errno::UCLEAN))?;
    recovered.store(sb);
    sb.written = I64::new(sys::now().secs);
    sb.seal(DiskBlock(0));
    dev.write_block(0, block)?;
    Ok(dev.flush()?)
}

/// The cache of metadata, and what it does about errors. One by one, because each is built on the
/// stack.
#[inline(never)]
fn cache(dev: Device, on_error: OnError, context: Context) -> Result<(Arc<Faults>, Arc<BufCache>)> {
    let faults = sys::try_arc(Faults::new(on_error))?;
    let log = context.geometry.log().start;
    let buf = BufCache::new(dev, context, faults.clone())?;
    // The log's header: a device that was cut short or mixed up is noticed here.
    buf.read(log, BlockKind::Log, Owner::log())?;
    Ok((faults, buf))
}

/// The log, which goes on at `head`.
#[inline(never)]
fn log(place: BlockRange, head: Lsn) -> Result<sys::Box<Log>> {
    Ok(sys::try_box(Log::new(place, head))?)
}

/// The list of what is in the log only.
#[inline(never)]
fn list() -> Result<Arc<Ail>> {
    Ok(Ail::new(sys::try_arc(Health::new())?)?)
}

impl Mount {
    /// Mounts the file system on `dev`. Reads the superblock and the log's header, and replays the
    /// log if the file system was not unmounted cleanly; nothing else is scanned. May sleep.
    ///
    /// Errors: EINVAL if there is none, or one that this code is too old or too new for; EBADMSG
    /// or EUCLEAN if superblock or log are damaged; EROFS if only reading is possible, or if the
    /// log would have to be replayed on a device that cannot be written; EIO; ENOMEM. The kernel
    /// log says which.
    pub fn open(dev: Device, opts: MountOpts) -> Result<Arc<Mount>> {
        let read_only = opts.read_only;
        if opts.norecovery && !read_only {
            sys::pr_err!("norecovery is for read-only mounts\n");
            return Err(Error::new(Errno::INVAL));
        }
        let (mut block, context, copy) = read_super(&dev, read_only)?;
        admit(&dev, superblock(&block)?, &context, read_only)?;
        let skip = opts.norecovery || copy;
        let recovered = recover(&dev, &mut block, &context, skip)?;

        let rescue = copy || !superblock(&block)?.is_clean();

        let m = Mount::assemble(dev, opts.errors, block, context, recovered, rescue)?;
        if !read_only {
            m.begin_writing(m.log.head())?;
        }
        if opts.background {
            m.start_background()?;
            m.start_discards()?;
            m.start_pusher()?;
        }
        Ok(m)
    }

    /// The parts, around a superblock that was found good.
    #[inline(never)]
    fn assemble(
        dev: Device,
        on_error: OnError,
        block: Block,
        context: Context,
        recovered: sys::Box<Recovered>,
        rescue: bool,
    ) -> Result<Arc<Mount>> {
        let geometry = context.geometry;
        let (faults, buf) = cache(dev, on_error, context)?;
        let sb = superblock(&block)?;
        let alloc = Alloc::new(buf.clone(), sb.free_blocks.get())?;
        let ail = list()?;
        let log = log(geometry.log(), Lsn(sb.lsn.get()))?;
        let inodes = InodeSpace::new(geometry.ag_count())?;

        Ok(sys::try_arc(Mount {
            buf,
            alloc,
            ail,
            faults,
            context,
            root: sb.root(),
            hash_seed: sb.hash_seed.get(),
            uuid: sb.uuid,
            gate: RwSem::new(()),
            txn_lists: sys::Spares::new()?,
            cuts: RwSem::new(()),
            log,
            flags: AtomicU32::new(flag::READ_ONLY),
            counts: InodeCounts {
                inodes: AtomicU64::new(sb.inodes.get()),
                free: AtomicU64::new(sb.free_inodes.get()),
                orphans: AtomicU64::new(sb.orphans.get()),
            },
            sb: Spin::new(block),
            super_turn: Mutex::new(()),
            inodes,
            stats: Stats::default(),
            push_turn: Mutex::new(()),
            pusher: Spin::new(None),
            pusher_stops: AtomicU32::new(0),
            recovered,
            rescue,
            background: Spin::new(None),
            discards: Discards::new(),
        })?)
    }

    /// From here on the file system on the device is not clean, and the log in use: everything that
    /// was in it is in its place, the next checkpoint goes to `head`. A new epoch begins, durably
    /// before anything is written to the log.
    pub(super) fn begin_writing(&self, head: Lsn) -> Result {
        if self.rescue {
            sys::pr_err!("cannot be made writable: unmount it first\n");
            return Err(Error::new(Errno::ROFS));
        }
        let now = sys::now().secs;
        let mut epoch = 0;
        self.flags.fetch_and(!flag::READ_ONLY, Ordering::AcqRel);
        self.write_super(|sb| {
            sb.state = U16::new(sb.state.get() & !STATE_CLEAN);
            sb.mounted = I64::new(now);
            epoch = sb.mount_count.get().saturating_add(1);
            sb.mount_count = U32::new(epoch);
            sb.lsn = U64::new(head.get());
        })
        .and_then(|()| Ok(self.buf.device().flush()?))
        .inspect(|()| self.log.start(head, epoch))
        .inspect_err(|_| {
            self.flags.fetch_or(flag::READ_ONLY, Ordering::AcqRel);
        })
    }

    /// Changes the superblock, adds what was recorded of errors, and writes it. One sector changes,
    /// so the block cannot tear. May sleep. Errors: EIO.
    pub(super) fn write_super(&self, change: impl FnOnce(&mut Superblock)) -> Result {
        let mut block = Block::must_zeroed();
        let _turn = self.super_turn.lock();
        let recorded = self.faults.take();
        {
            let mut held = self.sb.lock();
            let sb = Superblock::of_mut(held.as_mut_slice()).ok_or(Error::new(Errno::UCLEAN))?;
            change(sb);
            if recorded.count > 0 {
                if sb.error_count.get() == 0 {
                    sb.first_error = recorded.first;
                }
                sb.last_error = recorded.last;
                let count = sb.error_count.get().saturating_add(recorded.count);
                sb.error_count = U32::new(count);
                sb.state = U16::new(sb.state.get() | STATE_ERRORS);
            }
            sb.written = I64::new(sys::now().secs);
            sb.seal(DiskBlock(0));
            sb.store(&mut block);
        }
        Ok(self.buf.device().write_block(0, &block)?)
    }
}
