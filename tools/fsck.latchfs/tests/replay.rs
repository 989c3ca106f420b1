// SPDX-License-Identifier: GPL-2.0

//! File systems as a crash leaves them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use latchfs_engine::{
    engine::recovery::Live,
    format::{
        log::{block::LOG_BLOCK_MAGIC, block_at, body_blocks},
        Context, DiskBlock, Superblock,
    },
};
use latchfs_fsck::{check, check_device, preen, repair, Options, Problem};
use latchfs_host::{Block, Device, Errno};
use latchfs_image::{copy, crash, sample};
use tempfile::TempDir;

/// The sample after a crash.
fn crashed() -> Device {
    let dev = sample().image.dev;
    crash(&dev);
    dev
}

fn read(dev: &Device, at: u64) -> Block {
    let mut block = Block::must_zeroed();
    dev.read_block(at, &mut block).unwrap();
    block
}

fn superblock(dev: &Device) -> Superblock {
    *Superblock::of(&read(dev, 0)[..]).unwrap()
}

fn context(dev: &Device) -> Context {
    superblock(dev).verify(DiskBlock(0)).unwrap()
}

fn same(a: &Device, b: &Device) -> bool {
    (0..a.blocks()).all(|at| read(a, at)[..] == read(b, at)[..])
}

/// Blocks of the log's body that have something in them.
fn log_blocks(dev: &Device) -> Vec<u64> {
    let log = context(dev).geometry.log();
    let first = log.start.0 + 1;
    (first..first + u64::from(body_blocks(log.len)))
        .filter(|at| read(dev, *at)[..4] == LOG_BLOCK_MAGIC.to_le_bytes())
        .collect()
}

#[test]
fn a_check_replays_in_memory() {
    let dev = crashed();
    let before = copy(&dev);
    assert!(!superblock(&dev).is_clean());
    let report = check_device(&dev).unwrap();
    assert!(report.is_clean(), "{:#?}", report.messages);
    let recovered = report.recovered.unwrap();
    assert!(
        recovered.checkpoints > 3 && recovered.blocks > 5,
        "{recovered:?}"
    );
    assert!(report.stats.orphans > 0);
    assert!(same(&dev, &before));

    // Without the log nothing fits.
    for at in log_blocks(&dev) {
        dev.write_block(at, &Block::must_zeroed()).unwrap();
    }
    let report = check_device(&dev).unwrap();
    assert!(report.recovered.is_none());
}

#[test]
fn a_repair_replays_on_the_device() {
    let dev = crashed();
    let stats = check_device(&dev).unwrap().stats;
    let outcome = repair(&dev, &Options::default()).unwrap();
    // What was deleted before the crash goes, with its blocks; nothing else was wrong.
    let orphans = stats.orphans;
    let deleted = |line: &&String| line.contains("orphan deleted");
    assert_eq!(outcome.done.iter().filter(deleted).count() as u64, orphans);
    assert!(outcome.recovered.is_some());
    assert!(outcome.last.is_clean());
    let sb = superblock(&dev);
    assert!(sb.is_clean());
    let report = check_device(&dev).unwrap();
    assert!(report.is_clean() && report.recovered.is_none());
    assert_eq!(report.stats.inodes, stats.inodes - orphans);
    // The log goes on behind what it had.
    let head = outcome.recovered.unwrap().head;
    assert_eq!(sb.lsn.get(), head.0);
}

#[test]
fn at_boot_only_the_log_is_replayed() {
    let dev = crashed();
    let line = preen(&dev).unwrap().unwrap();
    assert!(line.contains("clean"), "{line}");
    assert!(superblock(&dev).is_clean());
    assert!(check_device(&dev).unwrap().is_clean());
    assert!(preen(&dev).unwrap().is_some());
}

/// A block in the middle of the log is gone.
#[test]
fn a_log_with_a_hole_is_given_up() {
    let dev = crashed();
    let context = context(&dev);
    let live = Live::find(&dev, &context, &superblock(&dev)).unwrap();
    let hole = block_at(context.geometry.log(), live.checkpoints()[1].start);
    dev.write_block(hole.0, &Block::must_zeroed()).unwrap();
    let report = check(&dev, &Options::default()).unwrap();
    let unusable = Problem::LogUnusable {
        error: Errno::UCLEAN,
    };
    assert!(
        report.problems.contains(&unusable),
        "{:#?}",
        report.messages
    );
    let old = superblock(&dev);
    let outcome = repair(&dev, &Options::default()).unwrap();
    assert!(outcome.changed && outcome.last.is_clean(), "{outcome:#?}");
    let sb = superblock(&dev);
    assert!(sb.is_clean() && sb.lsn.get() > old.lsn.get());
    // What is left in the log is never believed again.
    crash(&dev);
    let report = check_device(&dev).unwrap();
    assert!(report.is_clean(), "{:#?}", report.messages);
}

#[test]
fn a_damaged_log_header_does_not_cost_the_log() {
    let dev = crashed();
    let at = context(&dev).geometry.log().start;
    dev.write_block(at.0, &Block::must_zeroed()).unwrap();
    let report = check_device(&dev).unwrap();
    assert_eq!(report.problems.len(), 1, "{:#?}", report.messages);
    assert!(matches!(report.problems[0], Problem::LogDamaged { block, .. } if block == at));
    assert!(report.recovered.is_some());
    let outcome = repair(&dev, &Options::default()).unwrap();
    assert!(outcome.changed && outcome.recovered.is_some());
    assert!(outcome.last.is_clean());
    assert!(check_device(&dev).unwrap().is_clean());
}

/// Without its superblock, too, the newest state is in the log.
#[test]
fn a_lost_superblock_does_not_cost_the_log() {
    let dev = crashed();
    let stats = check_device(&dev).unwrap().stats;
    let lsn = superblock(&dev).lsn.get();
    let epoch = superblock(&dev).mount_count.get();
    dev.write_block(0, &Block::must_zeroed()).unwrap();
    // Not a trace of it: then nobody looks for copies. A sector that says nothing but its magic.
    let mut block = Block::must_zeroed();
    block[..8].copy_from_slice(b"latchFS\n");
    dev.write_block(0, &block).unwrap();
    let outcome = repair(&dev, &Options::default()).unwrap();
    assert!(outcome.changed && outcome.last.is_clean(), "{outcome:#?}");
    assert!(outcome.recovered.unwrap().checkpoints > 1);
    assert_eq!(outcome.last.stats.inodes, stats.inodes - stats.orphans);
    let sb = superblock(&dev);
    assert!(sb.lsn.get() > lsn && sb.mount_count.get() >= epoch);
    crash(&dev);
    let report = check_device(&dev).unwrap();
    assert!(report.is_clean(), "{:#?}", report.messages);
}

struct Bench {
    _dir: TempDir,
    image: PathBuf,
}

/// The image in a file.
fn bench(dev: &Device) -> Bench {
    let dir = TempDir::new().unwrap();
    let image = dir.path().join("image");
    let file = File::create(&image).unwrap();
    file.set_len(dev.blocks() * 4096).unwrap();
    for at in 0..dev.blocks() {
        let block = read(dev, at);
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(&block[..], at * 4096).unwrap();
        }
    }
    Bench { _dir: dir, image }
}

fn run(option: &str, image: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_fsck-latchfs"))
        .arg(option)
        .arg(image)
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), out)
}

/// Replay is not an error: status 0, as e2fsck's; what -y does about orphans is a change.
#[test]
fn the_program() {
    let bench = bench(&crashed());
    let before = std::fs::read(&bench.image).unwrap();
    let (status, out) = run("-n", &bench.image);
    assert_eq!(status, 0, "{out}");
    assert!(out.contains("log replayed in memory"), "{out}");
    assert!(std::fs::read(&bench.image).unwrap() == before);
    let (status, out) = run("-y", &bench.image);
    assert_eq!(status, 1, "{out}");
    assert!(out.contains("log replayed on the device"), "{out}");
    assert!(out.contains("orphan"), "{out}");
    for option in ["-n", "-y", "-p"] {
        let (status, out) = run(option, &bench.image);
        assert_eq!(status, 0, "{out}");
        assert!(!out.contains("replayed"), "{out}");
    }
    std::fs::write(&bench.image, &before).unwrap();
    let (status, out) = run("-p", &bench.image);
    assert_eq!(status, 0, "{out}");
    let (status, out) = run("-n", &bench.image);
    assert!(status == 0 && !out.contains("replayed"), "{out}");
}
