// SPDX-License-Identifier: GPL-2.0

//! Recovery: what the log has and the metadata does not.
//!
//! After a crash the metadata on the device is that of different moments; the log has the newest
//! version of everything that had not reached its place. [`recover`] brings it there:
//!
//! 1. *Search* ([`search`], [`scan`]): the newest complete checkpoint is the head. What a crash tore
//!    is not complete, and never happened.
//! 2. From the tail that the head's commit record names up to the head there must be checkpoint
//!    after checkpoint, without a hole.
//! 3. *Pass 1*: every record is read and checked, cancel records are collected ([`cancel`]). Until
//!    here nothing is written.
//! 4. *Pass 2*: every record that is not cancelled, and newer than the block or inode slot it is
//!    about, is applied, in order ([`target`]).
//!
//! Replay may be interrupted anywhere and repeated: what was applied already is skipped, and what
//! was torn is made from the log again. For that, a record holds everything in which a block
//! differs from what a *completed* write brought to the device; so a block whose checksum is wrong
//! is not compared, it gets all records there are (rules M5). XFS skips such a block by the
//! position in its first sector; ext4's jbd2 writes whole blocks, and has no position to be
//! deceived by.
//!
//! Called at mount, and by fsck.latchfs; `latchfs log` uses the same scan. Runs alone: nothing is
//! cached, no lock is held.

mod cancel;
pub mod scan;
mod search;
mod target;
#[cfg(all(test, unit_tests))]
mod tests;

use crate::{
    engine::{Error, Result},
    format::{
        header::Context,
        log::{
            next_block,
            record::{CommitBody, Record},
            LogHeader, //
        },
        superblock::{Superblock, STATE_CLEAN},
        units::{Ino, Lsn, BLOCK_SIZE, INODES_PER_BLOCK},
    },
    sys::{self, Block, Device, Errno},
};
use cancel::Cancels;
use scan::{Found, LogMap, Reader, Scan};
use target::{Site, Targets, What};
use zerocopy::little_endian::{U16, U64};

/// Bytes of log behind which replay says how far it is.
const PROGRESS: u64 = 32 << 20;

/// The part of the log that replay needs.
#[derive(Default)]
pub struct Live {
    /// Checkpoints, oldest first.
    checkpoints: sys::Vec<Found>,
    /// What the newest one says; [`None`] if there is none.
    commit: Option<CommitBody>,
    /// Position behind the newest one: where the log goes on.
    head: Lsn,
}

/// What was recovered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Where the log goes on.
    pub head: Lsn,
    /// The newest checkpoint's commit record; [`None`] if nothing was in the log.
    pub commit: Option<CommitBody>,
    /// Checkpoints replayed.
    pub checkpoints: u32,
    /// Records in them, commit records included.
    pub records: u64,
    /// Blocks written.
    pub blocks: u64,
}

impl Recovered {
    /// Number of the newest checkpoint, 0 if there is none.
    pub fn seq(&self) -> u64 {
        self.commit.map_or(0, |commit| commit.seq.get())
    }

    /// Makes `sb` that of a file system in which everything is in its place. The caller seals and
    /// writes it, after a flush of the device.
    pub fn store(&self, sb: &mut Superblock) {
        if let Some(commit) = &self.commit {
            sb.free_blocks = commit.free_blocks;
            sb.inodes = commit.inodes;
            sb.free_inodes = commit.free_inodes;
            sb.orphans = commit.orphans;
        }
        sb.lsn = U64::new(self.head.get());
        sb.state = U16::new(sb.state.get() | STATE_CLEAN);
    }
}

impl Live {
    /// What the log of `sb`'s file system has. Reads a few blocks of the log, and the part of it
    /// that replay needs. May sleep.
    ///
    /// Errors: EUCLEAN if the log has a hole, which it says in the kernel log; EIO; ENOMEM.
    #[inline(never)]
    pub fn find(dev: &Device, context: &Context, sb: &Superblock) -> Result<Self> {
        check_log(dev, context)?;
        let mut scan = Self::scan(dev, context, sb)?;
        let newest = search::newest(&mut scan)?;
        Self::chain(&mut scan, newest)
    }

    /// [`Self::find`], reading all of the log: also what damage hides from a search is seen.
    pub fn find_in_all(dev: &Device, context: &Context, sb: &Superblock) -> Result<Self> {
        check_log(dev, context)?;
        let mut scan = Self::scan(dev, context, sb)?;
        scan.rest()?;
        let newest = scan.map().newest();
        Self::chain(&mut scan, newest)
    }

    /// [`Self::find_in_all`] for a superblock that was lost: whatever is newest in the log, of any
    /// epoch. All of it was in force at some time, and what is in its place already is not written
    /// again.
    pub fn find_any(dev: &Device, context: &Context) -> Result<(Self, LogMap)> {
        check_log(dev, context)?;
        let mut scan = Scan::new(dev, context, Lsn(0), None)?;
        scan.rest()?;
        let newest = scan.map().newest();
        let live = Self::chain(&mut scan, newest)?;
        Ok((live, scan.into_map()))
    }

    fn scan<'a>(dev: &'a Device, context: &'a Context, sb: &Superblock) -> Result<Scan<'a>> {
        let lower = Lsn(sb.lsn.get());
        Scan::new(dev, context, lower, Some(sb.mount_count.get()))
    }

    /// The checkpoints from the newest one's tail on.
    #[inline(never)]
    fn chain(scan: &mut Scan<'_>, newest: Option<Found>) -> Result<Self> {
        let mut live = Live {
            head: scan.lower(),
            ..Live::default()
        };
        let Some(newest) = newest else {
            return Ok(live);
        };
        let commit = scan.reader()?.walk(&newest, &mut |_| Ok(()))?;
        let tail = Lsn(commit.tail.get());
        let body = u64::from(scan.body()).saturating_mul(BLOCK_SIZE as u64);
        let span = newest.end().get().checked_sub(tail.get());
        if tail > newest.start || span.is_none_or(|span| span > body) {
            sys::pr_err!(
                "log: the checkpoint at {} has an impossible tail, {}\n",
                newest.start,
                tail
            );
            return Err(Error::new(Errno::UCLEAN));
        }
        let mut at = tail.max(scan.lower());
        let older = newest.start.get().saturating_sub(at.get()) / BLOCK_SIZE as u64;
        scan.range(at, u32::try_from(older).unwrap_or(u32::MAX))?;
        while at < newest.start {
            match scan.map().checkpoint(at) {
                Some(found) if found.epoch == newest.epoch => {
                    at = found.end();
                    live.checkpoints.try_push(found)?;
                }
                _ => break,
            }
        }
        if at != newest.start {
            sys::pr_err!(
                "log: nothing at {}, which is between its tail at {} and its head at {}\n",
                at,
                tail,
                newest.end()
            );
            return Err(Error::new(Errno::UCLEAN));
        }
        live.checkpoints.try_push(newest)?;
        live.head = newest.end();
        live.commit = Some(commit);
        Ok(live)
    }

    /// Whether there is nothing to replay.
    pub fn is_empty(&self) -> bool {
        self.checkpoints.is_empty()
    }

    /// The checkpoints, oldest first.
    pub fn checkpoints(&self) -> &[Found] {
        &self.checkpoints
    }

    /// What the newest checkpoint says.
    pub fn commit(&self) -> Option<&CommitBody> {
        self.commit.as_ref()
    }

    /// Where the log goes on.
    pub fn head(&self) -> Lsn {
        self.head
    }

    /// Bytes of log that will be replayed.
    fn bytes(&self) -> u64 {
        let first = self.checkpoints.first().map_or(self.head, |c| c.start);
        self.head.get().saturating_sub(first.get())
    }
}

/// Whether there is a log of a version that this code knows.
#[inline(never)]
fn check_log(dev: &Device, context: &Context) -> Result {
    let at = context.geometry.log().start;
    let mut block = Block::try_zeroed()?;
    dev.read_block(at.get(), &mut block)?;
    LogHeader::verify(&block, context, at).map_err(|defect| {
        sys::pr_err!("log header in block {}: {}\n", at, defect);
        Error::new(Errno::UCLEAN)
    })
}

/// Brings what the log has to its place, durably. The superblock is left alone: what follows for
/// it is in what this returns ([`Recovered::store`]). May sleep, for seconds if the log is large.
///
/// Errors: EUCLEAN if the log, or a block after replay, is damaged; EROFS; EIO; ENOMEM. After each
/// of them it can be tried again.
#[inline(never)]
pub fn recover(dev: &Device, context: &Context, sb: &Superblock) -> Result<Recovered> {
    let live = Live::find(dev, context, sb)?;
    replay(dev, context, &live)
}

/// [`recover`], with a log that was looked at before.
pub fn replay(dev: &Device, context: &Context, live: &Live) -> Result<Recovered> {
    replay_in(dev, context, live, target::CACHE)
}

/// [`replay`], with at most `cache` blocks in memory.
#[inline(never)]
fn replay_in(dev: &Device, context: &Context, live: &Live, cache: usize) -> Result<Recovered> {
    let mut done = Recovered {
        head: live.head(),
        commit: live.commit().copied(),
        checkpoints: live.checkpoints().len() as u32,
        ..Recovered::default()
    };
    if live.is_empty() {
        return Ok(done);
    }
    sys::pr_info!(
        "recovery: {} checkpoints, {} KiB of log\n",
        done.checkpoints,
        live.bytes() / 1024
    );
    let mut reader = Reader::new(dev, context)?;
    let cancels = pass1(&mut reader, live, &mut done)?;

    // The log may have been read from the device's cache. Metadata must not become durable before
    // the log it comes from.
    dev.flush()?;
    let site = Site {
        dev,
        context,
        head: live.head(),
    };
    // A chunk of inodes is one record and eight blocks.
    let most = usize::try_from(done.records.saturating_mul(8)).unwrap_or(cache);
    let mut targets = Targets::new(most.min(cache))?;
    let replayed = pass2(&mut reader, live, &site, &cancels, &mut targets);
    replayed.and_then(|()| targets.finish(&site))?;
    dev.flush()?;
    done.blocks = targets.written;
    sys::pr_info!(
        "recovery: {} records, {} blocks written\n",
        done.records,
        done.blocks
    );
    Ok(done)
}

/// Reads and checks everything, and collects cancel records.
#[inline(never)]
fn pass1(reader: &mut Reader<'_>, live: &Live, done: &mut Recovered) -> Result<Cancels> {
    let mut cancels = Cancels::default();
    let mut seq: Option<u64> = None;
    for found in live.checkpoints() {
        let mut records = 0_u64;
        let commit = reader.walk(found, &mut |record| {
            records = records.saturating_add(1);
            match record {
                Record::Cancel { range } => cancels.add(*range, found.start),
                _ => Ok(()),
            }
        })?;
        let number = commit.seq.get();
        if seq.is_some_and(|last| last.checked_add(1) != Some(number)) {
            sys::pr_err!(
                "log: the checkpoint at {} is number {}, which does not follow\n",
                found.start,
                number
            );
            return Err(Error::new(Errno::UCLEAN));
        }
        seq = Some(number);
        done.records = done.records.saturating_add(records);
    }
    cancels.finish()?;
    Ok(cancels)
}

/// Applies everything.
#[inline(never)]
fn pass2(
    reader: &mut Reader<'_>,
    live: &Live,
    site: &Site<'_>,
    cancels: &Cancels,
    targets: &mut Targets,
) -> Result {
    let total = live.bytes();
    let mut done = 0_u64;
    let mut told = 0_u64;
    for found in live.checkpoints() {
        reader.walk(found, &mut |record| {
            apply(record, found.start, site, cancels, targets)
        })?;
        done = done.saturating_add(found.end().get().saturating_sub(found.start.get()));
        if total > PROGRESS && done.saturating_sub(told) >= PROGRESS {
            told = done;
            sys::pr_info!("recovery: {} of {} MiB\n", done >> 20, total >> 20);
        }
    }
    Ok(())
}

/// Applies one record of the checkpoint at `lsn`, unless what it is about was freed later.
fn apply(
    record: &Record<'_>,
    lsn: Lsn,
    site: &Site<'_>,
    cancels: &Cancels,
    targets: &mut Targets,
) -> Result {
    match *record {
        Record::Buf {
            block,
            kind,
            owner,
            chunks,
            data,
        } => {
            if !cancels.covers(block, lsn) {
                let what = What::Meta(kind, owner);
                let target = targets.get(site, block, what, chunks == u32::MAX)?;
                target.chunks(lsn, chunks, data);
            }
        }
        Record::Inode {
            block,
            ino,
            core,
            literal,
            ..
        } => {
            if !cancels.covers(block, lsn) {
                let first = ino.index().saturating_sub(ino.index() % INODES_PER_BLOCK);
                let what = What::Slots(Ino::new(ino.ag(), first));
                let target = targets.get(site, block, what, false)?;
                target.inode(site, lsn, ino, core, literal)?;
            }
        }
        Record::InodeInit { range, first } => {
            targets.read_ahead(site, range)?;
            for n in 0..range.len {
                let block = range.start.saturating_add(u64::from(n));
                if cancels.covers(block, lsn) {
                    continue;
                }
                let what = What::Slots(crate::format::log::record::chunk_ino(first, n, 0));
                targets
                    .get(site, block, what, false)?
                    .init(site, lsn, first, n)?;
            }
        }
        Record::Cancel { .. } | Record::Commit(_) => (),
    }
    Ok(())
}

/// Gives the log up: the position of a log in which nothing that is there now is believed. For
/// fsck, when what is there cannot be replayed.
pub fn discard(dev: &Device, context: &Context, sb: &Superblock) -> Result<Lsn> {
    let map = LogMap::scan(dev, context, Lsn(0), None)?;
    Ok(next_block(map.beyond().max(Lsn(sb.lsn.get()))))
}
