// SPDX-License-Identifier: GPL-2.0

//! Lays out a file system and writes it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use latchfs_engine::format::{
    limits::{MAX_BLOCKS, MAX_LOG_BLOCKS, MIN_BLOCKS, MIN_LOG_BLOCKS},
    make::{make as make_blocks, MakeParams},
    DiskBlock, Geometry, Superblock, BLOCK_SIZE,
};
use latchfs_tool::{size::human, Failure};

/// What will be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Layout.
    pub geometry: Geometry,
    /// Volume label.
    pub label: Vec<u8>,
    /// Name for users.
    pub uuid: [u8; 16],
    /// Random numbers: instance id, hash seed, generation of the root directory.
    pub random: [u64; 3],
    /// Creation time.
    pub now: (i64, u32),
    /// Owner and group of the root directory.
    pub owner: (u32, u32),
}

impl Plan {
    /// A plan for `bytes` bytes with random ids, owned by root, without a label. `log`: bytes of
    /// the log.
    pub fn new(bytes: u64, ag_blocks: Option<u32>, log: Option<u64>) -> Result<Self, Failure> {
        let blocks = bytes / BLOCK_SIZE as u64;
        let log_blocks = log.map(check_log).transpose()?;
        let geometry = Geometry::with_log(blocks, ag_blocks, log_blocks)
            .ok_or_else(|| refuse(blocks, log_blocks.is_some()))?;
        let now = latchfs_host::now();
        let mut uuid = [0; 16];
        uuid.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        Ok(Self {
            geometry,
            label: Vec::new(),
            uuid,
            random: std::array::from_fn(|_| latchfs_host::random_u64().max(1)),
            now: (now.secs, now.nanos),
            owner: (0, 0),
        })
    }
}

/// Blocks of a log of `bytes` bytes.
fn check_log(bytes: u64) -> Result<u32, Failure> {
    let limit = |blocks: u32| human(u64::from(blocks) * BLOCK_SIZE as u64);
    u32::try_from(bytes / BLOCK_SIZE as u64)
        .ok()
        .filter(|blocks| (MIN_LOG_BLOCKS..=MAX_LOG_BLOCKS).contains(blocks))
        .ok_or_else(|| {
            let (least, most) = (limit(MIN_LOG_BLOCKS), limit(MAX_LOG_BLOCKS));
            Failure::new(format!("a log has {least} to {most}"))
        })
}

fn refuse(blocks: u64, log: bool) -> Failure {
    let size = human(blocks.saturating_mul(BLOCK_SIZE as u64));
    let limit = |blocks: u64| human(blocks * BLOCK_SIZE as u64);
    if blocks < MIN_BLOCKS {
        let least = limit(MIN_BLOCKS);
        Failure::new(format!(
            "{size} is too small: a latchfs needs at least {least}"
        ))
    } else if blocks > MAX_BLOCKS {
        let most = limit(MAX_BLOCKS);
        Failure::new(format!("{size} is too large: a latchfs has at most {most}"))
    } else if log {
        Failure::new("no allocation group has room for a log of that size")
    } else {
        Failure::new("no layout of this size has groups of that many blocks")
    }
}

/// Writes the file system. The superblock comes last, after everything else is durable.
pub fn make(file: &File, plan: &Plan) -> io::Result<Superblock> {
    let params = MakeParams {
        uuid: plan.uuid,
        instance: plan.random[0],
        hash_seed: plan.random[1],
        label: &plan.label,
        now: plan.now,
        uid: plan.owner.0,
        gid: plan.owner.1,
        root_mode: 0o755,
        root_generation: plan.random[2] as u32,
    };
    let mut block = Box::new([0; BLOCK_SIZE]);
    let sb = make_blocks(&plan.geometry, &params, &mut block, &mut |at, block| {
        if at == DiskBlock(0) {
            file.sync_data()?;
        }
        let byte = at.byte().ok_or(io::ErrorKind::InvalidInput)?;
        file.write_all_at(block, byte)
    })?;
    file.sync_data()?;
    sb.ok_or_else(|| io::Error::other("no room for the root directory"))
}
