// SPDX-License-Identifier: GPL-2.0

//! The log, before anything else is looked at.
//!
//! A file system that was not unmounted cleanly is consistent after replay, not before. A check
//! replays into memory, a repair on the device; both with the engine's code, as a mount would.

use latchfs_engine::{
    engine::recovery::{self, Live, Recovered},
    format::{
        header::reseal, log::next_block, verify_block, Block, BlockKind, Context, DiskBlock,
        LogHeader, Lsn, Owner, Superblock, BLOCK_SIZE,
    },
};
use latchfs_host::{Device, Errno};

use crate::problem::Problem;
use crate::superblock::{self, Fatal};

/// What became of the log.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// What was replayed, if anything was.
    pub recovered: Option<Recovered>,
    /// What is wrong with the log.
    pub problems: Vec<Problem>,
}

/// Replays the log on `dev` if the file system was not unmounted cleanly, and marks it clean. What
/// stands in the way is a problem; `dev` may then be replayed in part, which harms nothing.
pub(crate) fn replay(dev: &Device) -> Result<Replay, Fatal> {
    let opened = superblock::open(dev)?;
    let mut result = Replay::default();
    let lost = opened.problem.is_some();
    let mut sb = opened.superblock;
    if !lost && sb.is_clean() {
        return Ok(result);
    }
    let context = opened.context;
    let header = restore_header(dev, &context, &mut result);
    let done = header.and_then(|()| {
        if lost {
            // A copy of the superblock does not know where the log begins and ends.
            let (live, _) = Live::find_any(dev, &context)?;
            return recovery::replay(dev, &context, &live);
        }
        let live = Live::find_in_all(dev, &context, &sb)?;
        recovery::replay(dev, &context, &live)
    });
    match done {
        Ok(recovered) => {
            if !lost {
                recovered.store(&mut sb);
                write_superblock(dev, &mut sb)?;
            }
            if recovered.checkpoints != 0 {
                result.recovered = Some(recovered);
            }
        }
        Err(error) => result.problems.push(Problem::LogUnusable {
            error: error.errno(),
        }),
    }
    Ok(result)
}

/// Gives the log up: it is empty afterwards, and goes on behind everything that was in it, or that
/// metadata says about it (`newest`). Epoch and position are put into `sb`.
pub(crate) fn empty(dev: &Device, context: &Context, sb: &mut Superblock, newest: Lsn) {
    let found = recovery::scan::LogMap::scan(dev, context, Lsn(0), None);
    // What cannot be read cannot be mistaken for a checkpoint either.
    let (beyond, epoch) = found.map_or((Lsn(0), 0), |map| (map.beyond(), map.epoch()));
    let newest = Lsn(newest.0 - newest.0 % BLOCK_SIZE as u64);
    let first = latchfs_engine::format::log::first_lsn(context.geometry.log().len);
    let lsn = beyond.max(next_block(newest)).max(Lsn(sb.lsn.get()));
    sb.lsn.set(lsn.max(first).0);
    sb.mount_count.set(sb.mount_count.get().max(epoch));
}

/// The header of the log says nothing that is not known: a damaged one is written anew, so that it
/// does not stand in the way of what is behind it.
fn restore_header(
    dev: &Device,
    context: &Context,
    result: &mut Replay,
) -> latchfs_engine::engine::Result {
    let at = context.geometry.log().start;
    let mut block = latchfs_host::Block::must_zeroed();
    dev.read_block(at.0, &mut block)?;
    let verify =
        |block: &Block| verify_block(block, BlockKind::Log, context, at, Some(Owner::log()));
    if let Err(defect) = verify(&block) {
        result
            .problems
            .push(Problem::LogDamaged { block: at, defect });
        LogHeader::format(&mut block, context);
        reseal(&mut block, context);
        dev.write_block(at.0, &block)?;
    }
    Ok(())
}

/// Writes the superblock to block 0.
pub(crate) fn write_superblock(dev: &Device, sb: &mut Superblock) -> Result<(), Fatal> {
    let mut block = latchfs_host::Block::must_zeroed();
    let at = DiskBlock(0);
    let written = |error: Errno| Fatal::Read { block: at, error };
    sb.written.set(latchfs_host::now().secs);
    sb.seal(at);
    sb.store(&mut block);
    dev.write_block(at.0, &block).map_err(written)?;
    dev.flush().map_err(written)
}
