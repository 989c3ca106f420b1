// SPDX-License-Identifier: GPL-2.0

//! The log: what replay would do, or everything that is still there.

use latchfs_engine::{
    engine::recovery::{
        scan::{Found, LogMap, Reader},
        Live,
    },
    format::{
        log::{block_at, body_index, record::Record},
        AgHeader, AttrBlock, BlockKind, Lsn, MapBlock, Owner, SymlinkBlock, TreeBlock,
    },
};
use latchfs_tool::{Failure, Volume};

use crate::commands::time;
use crate::model::{Checkpoint, Log, LogRecord};

type Result<T> = std::result::Result<T, Failure>;

/// The log of a file system. `all`: not only the checkpoints that replay needs. `records`: with
/// what they say.
pub fn log(volume: &Volume, all: bool, records: bool) -> Result<Log> {
    let context = &volume.context;
    let place = context.geometry.log();
    let lower = Lsn(volume.sb.lsn.get());
    // Errors in the log are shown, not fatal: that is what one looks for.
    let live = if volume.sb.is_clean() {
        Ok(Live::default())
    } else {
        Live::find_in_all(&volume.dev, context, &volume.sb)
    };
    let (live, defect) = match live {
        Ok(live) => (live, None),
        Err(error) => (Live::default(), Some(format!("{:?}", error.errno()))),
    };
    let found: Vec<Found> = if all || defect.is_some() {
        let map = LogMap::scan(&volume.dev, context, Lsn(0), None).map_err(fail)?;
        map.all().map_err(fail)?.to_vec()
    } else {
        live.checkpoints().to_vec()
    };
    let mut checkpoints = Vec::new();
    let mut reader = Reader::new(&volume.dev, context).map_err(fail)?;
    for found in &found {
        let needed = live.checkpoints().contains(found);
        checkpoints.push(checkpoint(volume, &mut reader, found, needed, records));
    }
    let head = if live.is_empty() { lower } else { live.head() };
    Ok(Log {
        start: place.start.0,
        blocks: place.len,
        lower_bound: lower.0,
        epoch: volume.sb.mount_count.get(),
        tail: live.checkpoints().first().map_or(head, |c| c.start).0,
        head: head.0,
        head_block: block_at(place, head).0,
        head_index: body_index(head, place.len),
        clean: volume.sb.is_clean(),
        defect,
        checkpoints,
    })
}

fn fail(error: latchfs_engine::engine::Error) -> Failure {
    Failure::new(format!("log: {:?}", error.errno()))
}

fn checkpoint(
    volume: &Volume,
    reader: &mut Reader<'_>,
    found: &Found,
    needed: bool,
    records: bool,
) -> Checkpoint {
    let mut lines = Vec::new();
    let mut count = 0_u64;
    let commit = reader.walk(found, &mut |record| {
        count += 1;
        if records {
            lines.push(line(record));
        }
        Ok(())
    });
    let place = volume.context.geometry.log();
    let body = commit.as_ref().ok();
    Checkpoint {
        lsn: found.start.0,
        block: block_at(place, found.start).0,
        blocks: found.blocks,
        epoch: found.epoch,
        replayed: needed,
        seq: body.map(|c| c.seq.get()),
        tail: body.map(|c| c.tail.get()),
        time: body.map(|c| time(c.time.get(), 0)),
        free_blocks: body.map(|c| c.free_blocks.get()),
        inodes: body.map(|c| c.inodes.get()),
        free_inodes: body.map(|c| c.free_inodes.get()),
        orphans: body.map(|c| c.orphans.get()),
        records: count,
        defect: commit.err().map(|error| format!("{:?}", error.errno())),
        contents: records.then_some(lines),
    }
}

/// A record in words: what it is about, and what of it.
fn line(record: &Record<'_>) -> LogRecord {
    let mut line = LogRecord {
        kind: record.kind().as_str(),
        block: None,
        ino: None,
        what: String::new(),
    };
    match *record {
        Record::Buf {
            block,
            kind,
            owner,
            chunks,
            data,
        } => {
            line.block = Some(block.0);
            line.ino = owner.as_inode().map(|ino| ino.0);
            let detail = detail(kind, chunks, data);
            line.what = format!(
                "{} of {}, {} bytes {}{detail}",
                kind.as_str(),
                owner_name(owner),
                data.len(),
                ranges(chunks)
            );
        }
        Record::Inode {
            block,
            ino,
            generation,
            core,
            literal,
        } => {
            line.block = Some(block.0);
            line.ino = Some(ino.0);
            let parts = [
                core.map(|_| "core".to_string()),
                literal.map(|bytes| format!("{} bytes of literal area", bytes.len())),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            line.what = format!("generation {generation}, {}", parts.join(", "));
        }
        Record::Cancel { range } => {
            line.block = Some(range.start.0);
            line.what = format!("{} freed", plural(range.len, "block"));
        }
        Record::InodeInit { range, first } => {
            line.block = Some(range.start.0);
            line.ino = Some(first.0);
            line.what = format!("{}, 64 free slots", plural(range.len, "block"));
        }
        Record::Commit(body) => {
            line.what = format!("number {}, tail {}", body.seq.get(), body.tail.get());
        }
    }
    line
}

/// What a whole image says about itself.
fn detail(kind: BlockKind, chunks: u32, data: &[u8]) -> String {
    let Some(block) = data.first_chunk().filter(|_| chunks == u32::MAX) else {
        return String::new();
    };
    match kind {
        BlockKind::AgHeader => format!(", group {}", AgHeader::of(block).ag.get()),
        BlockKind::InodeMap => format!(", index {}", MapBlock::of(block).index.get()),
        BlockKind::Tree => {
            let node = TreeBlock::of(block);
            format!(", level {}, {} entries", node.level, node.count.get())
        }
        BlockKind::Symlink => format!(", part {}", SymlinkBlock::of(block).index.get()),
        BlockKind::AttrValue => format!(", part {}", AttrBlock::of(block).index.get()),
        _ => String::new(),
    }
}

fn owner_name(owner: Owner) -> String {
    if let Some(ino) = owner.as_inode() {
        return format!("inode {ino}");
    }
    let ag = latchfs_engine::format::AgNumber(owner.0 as u32);
    if owner == Owner::inode_file(ag) {
        format!("the inode file of group {ag}")
    } else if owner == Owner::inode_map(ag) {
        format!("the inode map of group {ag}")
    } else {
        format!("group {ag}")
    }
}

fn plural(n: u32, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// The runs of a mask, as byte ranges.
fn ranges(chunks: u32) -> String {
    if chunks == u32::MAX {
        return "(all)".into();
    }
    let is = |n: u32| n < 32 && chunks & 1 << n != 0;
    let mut runs = Vec::new();
    let mut start = None;
    for n in 0..=32 {
        match (is(n), start) {
            (true, None) => start = Some(n),
            (false, Some(first)) => {
                runs.push(format!("{}-{}", first * 128, n * 128 - 1));
                start = None;
            }
            _ => {}
        }
    }
    format!("({})", runs.join(" "))
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn masks_as_ranges() {
        assert_eq!(ranges(u32::MAX), "(all)");
        assert_eq!(ranges(1), "(0-127)");
        assert_eq!(ranges(0x8000_0006), "(128-383 3968-4095)");
    }
}
