// SPDX-License-Identifier: GPL-2.0

//! latchfs-hostile: writes hostile images for the kernel test.
//!
//! DIR gets `base.img`, a sound image, and for each hostile one a file NAME.patch: records of what
//! differs from the base, offset (u64), length (u32), both little endian, then that many bytes.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use latchfs_engine::format::BLOCK_SIZE;
use latchfs_fuzz::{mutate, Base, Patch};
use latchfs_tool::{cli, Failure};

const TOOL: &str = "latchfs-hostile";

/// Write hostile latchfs images: one sound base image, and patches against it.
#[derive(Debug, Parser)]
#[command(name = TOOL, version)]
struct Args {
    /// Directory to write to
    dir: PathBuf,
    /// How many
    count: u64,
    /// Number of the first one
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn main() -> ExitCode {
    let args = match cli::parse::<Args>(TOOL, 2) {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            cli::complain(TOOL, failure);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let base = Base::sample();
    // Every second image has a log.
    let bases = [&base, &Base::crashed()];
    let fail = |error: io::Error| Failure::io(args.dir.display(), &error);
    fs::create_dir_all(&args.dir).map_err(fail)?;

    let mut image = vec![0; base.size as usize * BLOCK_SIZE];
    for (at, block) in base.blocks.iter() {
        let start = *at as usize * BLOCK_SIZE;
        image[start..start + BLOCK_SIZE].copy_from_slice(&block[..]);
    }
    fs::write(args.dir.join("base.img"), image).map_err(fail)?;
    for seed in args.seed..args.seed + args.count {
        let from = bases[seed as usize % 2];
        let mut patch = mutate(from, seed);
        if seed % 2 == 1 {
            for (at, block) in from.blocks.iter() {
                patch.entry(*at).or_insert_with(|| block.clone());
            }
        }
        let bytes = records(&base, &patch);
        let name = format!("image-{seed:06}.patch");
        fs::write(args.dir.join(name), bytes).map_err(fail)?;
    }
    Ok(())
}

/// A patch as a file: what differs, in pieces of 64 bytes.
fn records(base: &Base, patch: &Patch) -> Vec<u8> {
    const PIECE: usize = 64;

    let mut out = Vec::new();
    for (at, block) in patch {
        let old = base.block(*at);
        for n in (0..BLOCK_SIZE).step_by(PIECE) {
            let new = &block[n..n + PIECE];
            if new != &old[n..n + PIECE] {
                out.extend_from_slice(&(at * BLOCK_SIZE as u64 + n as u64).to_le_bytes());
                out.extend_from_slice(&(PIECE as u32).to_le_bytes());
                out.extend_from_slice(new);
            }
        }
    }
    out
}
