// SPDX-License-Identifier: GPL-2.0

//! latchfs-crash: what a power failure would have left, recovered and checked.
//!
//! Takes the image before a load (`vmtests crash-load`) and the log that dm-log-writes made of it,
//! goes through the log, and at each flush and each write with FUA makes the states a power failure
//! there can leave: everything that was not flushed is lost; a random part of it, down to single
//! sectors, is not. Each state is checked by fsck with the log replayed in memory, mounted (which
//! recovers), unmounted, checked again, and compared with what the load was promised. Now and then
//! the power fails again during the recovery.
//!
//! Without a log the image is the state: of a machine that was killed.

mod disk;
mod state;
mod states;
mod view;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use latchfs_tool::{cli, Failure};
use latchfs_vmtests::crash::dmlog::Log;
use latchfs_vmtests::crash::verify::{Acks, Verifier};

use disk::Base;
use state::Checker;

const TOOL: &str = "latchfs-crash";

/// Check what power failures during a recorded load would have left.
#[derive(Debug, Parser)]
#[command(name = TOOL, version)]
struct Args {
    /// The image before the load; or, without LOG, after the crash
    image: PathBuf,
    /// What dm-log-writes recorded
    log: Option<PathBuf>,
    /// Seed of the load
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Workers of the load
    #[arg(long, default_value_t = 2)]
    workers: u32,
    /// Acknowledgments, if there is no log to take them from
    #[arg(long)]
    acks: Option<PathBuf>,
    /// At how many moments, evenly spread (0: at all of them)
    #[arg(long, default_value_t = 0)]
    states: usize,
    /// Replay so many entries and check the rest from --then only
    #[arg(long)]
    until: Option<usize>,
    /// A second log, of the recovery of the state at --until
    #[arg(long, requires = "until")]
    then: Option<PathBuf>,
    /// Write the first state that is wrong to this image
    #[arg(long)]
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = match cli::parse::<Args>(TOOL, 2) {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            cli::complain(TOOL, failure);
            ExitCode::FAILURE
        }
    }
}

fn open_log(path: &Path) -> Result<Log, Failure> {
    let fail = |error: std::io::Error| Failure::io(path.display(), &error);
    Log::open(fs::File::open(path).map_err(fail)?).map_err(fail)
}

fn run(args: &Args) -> Result<bool, Failure> {
    let start = Instant::now();
    let base =
        Base::load(&args.image).map_err(|error| Failure::io(args.image.display(), &error))?;
    let mut checker = Checker::new(
        Verifier::new(args.seed, args.workers),
        args.seed,
        args.keep.clone(),
    );
    match &args.log {
        None => {
            let acks = match &args.acks {
                Some(path) => {
                    fs::read(path).map_err(|error| Failure::io(path.display(), &error))?
                }
                None => Vec::new(),
            };
            let acks = Acks::of(&String::from_utf8_lossy(&acks).replace('\0', "\n"));
            checker.check("the image", &base, disk::Patch::new(), &acks);
        }
        Some(path) => {
            let log = open_log(path)?;
            let fail = |error: std::io::Error| Failure::io(path.display(), &error);
            match (&args.then, args.until) {
                (Some(second), Some(until)) => {
                    let acks = log.acks(log.next_point(until).unwrap_or(log.entries.len()));
                    states::replay(&base, &log, 0..until).map_err(fail)?;
                    let second = open_log(second)?;
                    states::check(&mut checker, &base, &second, args.states, Some(&acks))
                        .map_err(fail)?;
                }
                _ => states::check(&mut checker, &base, &log, args.states, None).map_err(fail)?,
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "   {} crash states, {:.1} states/s, {} violations",
        checker.states,
        checker.states as f64 / seconds.max(0.001),
        checker.violations.len()
    );
    for violation in &checker.violations {
        println!("   {violation}");
    }
    Ok(checker.violations.is_empty() && checker.states > 0)
}
