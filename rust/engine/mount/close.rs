// SPDX-License-Identifier: GPL-2.0

//! Sync, freeze, remount, shutdown, unmount.

#[cfg(all(test, unit_tests))]
mod tests;

use super::*;
use crate::engine::namespace;
use crate::format::superblock::STATE_CLEAN;
use crate::sys::{self, Report};
use zerocopy::little_endian::{U16, U64};

/// What is written before a shutdown that a user asks for (`FS_IOC_SHUTDOWN`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownHow {
    /// Everything: data is the caller's, by freezing; metadata here.
    Default,
    /// What was committed, into the log.
    LogFlush,
    /// Nothing.
    NoLogFlush,
}

impl Mount {
    /// Everything that was done before this call is durable after it, and files that were deleted
    /// have given their space back. May sleep; nothing may be held.
    ///
    /// Errors: EIO. What could not be written is still dirty, and the next call tries again.
    pub fn sync(self: &Arc<Self>) -> Result {
        self.check_live()?;
        if self.read_only() {
            return Ok(());
        }
        // Pages that a truncation has taken away were not written.
        sys::sync_point!("sync.cut", 0_u64);
        drop(self.cuts.write());
        if self.check_faults().is_err() {
            // After an error nothing new is begun, but what was committed is not given up.
            return self.sync_log();
        }
        let open = self.log.current_seq();
        hooks::drain_inodes(self)?;
        self.checkpoint()?;
        if hooks::reap_inodes(self)? {
            self.checkpoint()?;
        }
        // Data that was overwritten in place came through no transaction.
        self.flush_since(open)
    }

    /// [`Self::sync`], and everything in its place: the log is not needed any more. For freeze. The
    /// VFS sees to it that nobody changes anything. May sleep; nothing may be held. EIO.
    pub fn quiesce(self: &Arc<Self>) -> Result {
        self.sync()?;
        if self.read_only() {
            return Ok(());
        }
        self.push_ail_all()?;
        // An item leaves the list before the write that brought it to its place is done with.
        self.ail.wait_writes();
        Ok(())
    }

    /// [`Self::quiesce`] for a freeze: the file system on the device is clean, so that a snapshot of
    /// it can be mounted from a read-only device. Nothing may change it until [`Self::thaw`]. May
    /// sleep; nothing may be held. EIO.
    pub fn freeze(self: &Arc<Self>) -> Result {
        self.quiesce()?;
        if self.read_only() || self.faults.count() != 0 {
            return Ok(());
        }
        self.mark_clean()
    }

    /// The end of [`Self::freeze`], or of one that failed half-way: the file system is in use again.
    /// If the superblock cannot be written it is shut down. May sleep; nothing may be held. EIO.
    pub fn thaw(self: &Arc<Self>) -> Result {
        self.check_live()?;
        if self.read_only() || !self.superblock(Superblock::is_clean)? {
            return Ok(());
        }
        self.begin_writing(self.log.head()).inspect_err(|error| {
            self.note_error(error, 0, 0);
            self.fail("the end of a freeze cannot be written");
        })
    }

    /// Makes the mount read-only (after a sync; the file system on disk is then clean), or
    /// writable again. The VFS has seen to it that nobody writes. May sleep.
    ///
    /// Errors: EIO; EROFS if the device, unknown features or recorded errors do not allow it.
    pub fn set_read_only(self: &Arc<Self>, read_only: bool) -> Result {
        if read_only == self.read_only() {
            return Ok(());
        }
        if read_only {
            self.quiesce()?;
            if self.faults.count() == 0 {
                self.mark_clean()?;
            }
            self.flags.fetch_or(flag::READ_ONLY, Ordering::AcqRel);
            return Ok(());
        }
        self.check_live()?;
        let can_write = self.superblock(Superblock::can_write)?;
        if self.buf.device().read_only() || !can_write || self.faults.count() != 0 {
            return Err(Error::new(Errno::ROFS));
        }
        self.begin_writing(self.log.head())
    }

    /// Stops everything: from now on nothing is written, all changes fail with EIO. Does not
    /// sleep. The first reason is logged.
    pub fn shutdown(&self, why: &str) {
        if !self.ail.health().go_down() {
            return;
        }
        sys::pr_err!("shut down: {}\n", why);
        self.buf.device().report(Report::Shutdown);
        self.wake_for_shutdown();
    }

    /// Whoever waits for something that will not come any more looks again; the pusher throws away
    /// what it has.
    fn wake_for_shutdown(&self) {
        self.ail.wake();
        self.log.wake_all();
        self.ask_push(crate::format::Lsn(u64::MAX));
    }

    /// A shutdown that a user asks for. May sleep; nothing may be held. The file system is down
    /// whatever is returned; errors are those of what was to be written before.
    pub fn shutdown_by_user(self: &Arc<Self>, how: ShutdownHow) -> Result {
        let verdict = match how {
            ShutdownHow::Default => self.quiesce(),
            ShutdownHow::LogFlush => self.checkpoint(),
            ShutdownHow::NoLogFlush => Ok(()),
        };
        self.shutdown("a user asked for it");
        verdict
    }

    /// The superblock says that everything is in its place, with exact counters. The AIL is empty.
    fn mark_clean(&self) -> Result {
        // What was written has to be there before anything says that the log is not needed.
        self.buf.device().flush()?;
        let counts = self.counts();
        let free = self.alloc.free();
        let head = self.log.head();
        self.write_super(|sb| {
            sb.free_blocks = U64::new(free);
            sb.inodes = U64::new(counts.inodes.load(Ordering::Relaxed));
            sb.free_inodes = U64::new(counts.free.load(Ordering::Relaxed));
            sb.orphans = U64::new(counts.orphans.load(Ordering::Relaxed));
            sb.lsn = U64::new(head.get());
            sb.state = U16::new(sb.state.get() | STATE_CLEAN);
        })?;
        Ok(self.buf.device().flush()?)
    }

    /// Unmounts: nobody uses the file system any more. Always ends; what cannot be written is
    /// lost, which the error says. May sleep.
    ///
    /// The order is in the types: what runs in the background is stopped before everything is
    /// brought to its place, and nothing is freed before that has ended (see [`Live`]).
    pub fn unmount(self: &Arc<Self>) -> Result {
        if self.flags.fetch_or(flag::CLOSED, Ordering::AcqRel) & flag::CLOSED != 0 {
            return Ok(());
        }
        sys::mutant!(UnmountOrder => return Live(self).push_first().free());
        Live(self).quiesce().push_out().free()
    }

    fn can_still_write(&self) -> bool {
        !self.is_shutdown() && !self.read_only()
    }
}

/// A mount that is about to be closed: its background work runs. The only thing to do with it is to
/// stop that.
#[must_use]
struct Live<'m>(&'m Arc<Mount>);

/// Nothing runs in the background: what is in memory cannot become more. Only from here everything
/// can be brought to its place; an inode that somebody frees behind the pusher's back would come
/// too late.
#[must_use]
struct Quiesced<'m> {
    m: &'m Arc<Mount>,
    verdict: Result,
}

/// The AIL is empty, because everything was written or because nothing can be.
#[must_use]
struct Drained<'m> {
    m: &'m Arc<Mount>,
    verdict: Result,
}

impl<'m> Live<'m> {
    /// Deleted files are freed, as far as that is possible; then inodegc, checkpoints and the pusher
    /// stop.
    fn quiesce(self) -> Quiesced<'m> {
        let m = self.0;
        sys::sync_point!("unmount.quiesce", 0);
        m.ail.begin_unmount();
        let verdict = if m.is_shutdown() {
            // Whatever was not durable then is lost.
            Err(Error::new(Errno::IO))
        } else if m.can_still_write() {
            m.sync()
        } else {
            Ok(())
        };
        namespace::stop_inodegc(m);
        let item = m.background.lock().take();
        if let Some(item) = item {
            item.stop();
        }
        m.stop_discards();
        // Those of inodes that are still in memory; an empty one keeps nothing alive.
        m.alloc.drop_windows();
        m.stop_pusher();
        Quiesced { m, verdict }
    }
}

#[cfg(latchfs_races)]
impl<'m> Live<'m> {
    /// The mutant: pushes while the background work runs, and stops that afterwards.
    fn push_first(self) -> Drained<'m> {
        let m = self.0;
        let early = Quiesced { m, verdict: Ok(()) }.push_out();
        let late = self.quiesce();
        Drained {
            m,
            verdict: early.verdict.and(late.verdict),
        }
    }
}

impl<'m> Quiesced<'m> {
    /// Everything that was committed goes to its place, or is given up.
    fn push_out(self) -> Drained<'m> {
        let Self { m, verdict } = self;
        sys::sync_point!("unmount.push_all", 0);
        let mut verdict = verdict;
        if m.can_still_write() {
            let pushed = m.push_ail_out();
            if let (Err(error), false) = (&pushed, m.is_shutdown()) {
                m.note_error(error, 0, 0);
                m.fail("not everything could be written before the end");
            }
            verdict = verdict.and(pushed);
        }
        // After a shutdown: what is left is given up.
        if m.is_shutdown() {
            m.log_abandon();
        }
        let _ = m.heed_ail();
        m.ail.wait_writes();
        let _ = m.heed_ail();
        if m.is_shutdown() {
            // The pusher may have given up before it was stopped, and what was lost is not in the
            // AIL any more.
            verdict = verdict.and(Err(Error::new(Errno::IO)));
        }
        Drained { m, verdict }
    }
}

impl Drained<'_> {
    /// The clean flag, or a record of what went wrong; then the caches.
    fn free(self) -> Result {
        let Self { m, mut verdict } = self;
        if m.can_still_write() && verdict.is_ok() && m.faults.count() == 0 {
            verdict = m.mark_clean();
        } else {
            m.record_errors();
        }
        hooks::drop_inodes(m);

        #[cfg(latchfs_races)]
        if !m.is_shutdown() {
            let seen = m.observe();
            if !seen.is_quiet() {
                sys::damage!(DirtyAfterPush, seen.dirty);
            }
            if seen.inodes == 0 && !seen.is_settled() {
                sys::damage!(SpaceLost, seen.promised);
            }
        }
        let (lost, held) = m.buf.purge();
        if lost != 0 {
            sys::pr_err!("{} dirty metadata blocks were lost\n", lost);
        }
        if held != 0 {
            sys::pr_err!("{} metadata blocks are still in use\n", held);
        }
        #[cfg(debug_assertions)]
        if !sys::mutant!(UnmountOrder) {
            m.verify_at_end(held);
        }
        verdict
    }
}
