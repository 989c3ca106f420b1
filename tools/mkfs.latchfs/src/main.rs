// SPDX-License-Identifier: GPL-2.0

//! mkfs.latchfs: makes a latchfs on a block device or in a file.

use std::fs::OpenOptions;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::Parser;
use latchfs_engine::format::{limits::LABEL_SIZE, Superblock, BLOCK_SIZE};
use latchfs_mkfs::{
    device::{discard, wipe},
    make,
    signature::detect,
    Plan,
};
use latchfs_tool::{cli, size, Access, Failure, Target};

const TOOL: &str = "mkfs.latchfs";

/// Make a latchfs file system.
#[derive(Debug, Parser)]
#[command(name = TOOL, version, disable_version_flag = true)]
struct Args {
    /// Block device or file
    device: PathBuf,
    /// Volume label, at most 64 bytes
    #[arg(short = 'L', long, value_name = "LABEL")]
    label: Option<String>,
    /// UUID of the file system [default: random]
    #[arg(short = 'U', long, value_name = "UUID", value_parser = parse_uuid)]
    uuid: Option<[u8; 16]>,
    /// Block size in bytes; 4096 is the only one there is
    #[arg(short = 'b', long, value_name = "BYTES", value_parser = parse_block_size)]
    block_size: Option<u64>,
    /// Size of the file system [default: all of the device]; a file is made as large as this
    #[arg(short = 's', long, value_name = "SIZE", value_parser = size::parse)]
    size: Option<u64>,
    /// Blocks of an allocation group [default: by the size of the device]
    #[arg(long, value_name = "BLOCKS")]
    ag_blocks: Option<u32>,
    /// Size of the log [default: by the size of the device, 4m to 256m]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    log_size: Option<u64>,
    /// Owner and group of the root directory
    #[arg(long, value_name = "UID:GID", value_parser = parse_owner)]
    root_owner: Option<(u32, u32)>,
    /// Overwrite whatever is there without asking
    #[arg(short, long)]
    force: bool,
    /// Do not discard the device first
    #[arg(short = 'K', long)]
    nodiscard: bool,
    /// Show what would be made, write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print nothing on success
    #[arg(short, long)]
    quiet: bool,
    /// Print the version
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

fn parse_uuid(text: &str) -> Result<[u8; 16], String> {
    match uuid::Uuid::try_parse(text) {
        Ok(uuid) => Ok(*uuid.as_bytes()),
        Err(_) => Err("not a UUID".into()),
    }
}

fn parse_block_size(text: &str) -> Result<u64, String> {
    match size::parse(text)? {
        4096 => Ok(4096),
        other => Err(format!("{other} is not supported, blocks have 4096 bytes")),
    }
}

fn parse_owner(text: &str) -> Result<(u32, u32), String> {
    let (uid, gid) = text.split_once(':').ok_or("UID:GID expected")?;
    match (uid.parse(), gid.parse()) {
        (Ok(uid), Ok(gid)) => Ok((uid, gid)),
        _ => Err("numbers expected".into()),
    }
}

fn main() -> ExitCode {
    let args = match cli::parse::<Args>(TOOL, 1) {
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
    if args.label.as_ref().is_some_and(|l| l.len() > LABEL_SIZE) {
        return Err(Failure::new(format!(
            "the label has more than {LABEL_SIZE} bytes"
        )));
    }
    // Everything that can be refused is refused before anything is changed.
    if let Some(bytes) = args.size {
        Plan::new(bytes, args.ag_blocks, args.log_size)?;
    }

    let (target, created) = open(args)?;
    let result = make_on(args, target);
    if created && result.is_err() {
        let _ = std::fs::remove_file(&args.device);
    }
    result
}

/// Makes the file system on an open device or file.
fn make_on(args: &Args, mut target: Target) -> Result<(), Failure> {
    let bytes = match args.size {
        Some(bytes) if bytes > target.size && target.is_device => {
            return Err(Failure::new(format!(
                "{}: has only {}",
                target.path.display(),
                size::human(target.size)
            )))
        }
        Some(bytes) => bytes,
        None => target.size,
    };
    let mut plan = Plan::new(bytes, args.ag_blocks, args.log_size)
        .map_err(|why| Failure::new(format!("{}: {why}", target.path.display())))?;
    plan.label = args.label.clone().unwrap_or_default().into_bytes();
    plan.uuid = args.uuid.unwrap_or(plan.uuid);
    plan.owner = args.root_owner.unwrap_or(plan.owner);

    if args.dry_run {
        if !args.quiet {
            describe(&target, &plan);
        }
        return Ok(());
    }
    target.refuse_busy_loop()?;
    if !args.force {
        target.refuse_loop()?;
        let found = detect(&target.file, target.size).map_err(fail_at(&target))?;
        if let Some(what) = found {
            confirm(&target, what)?;
        }
    }
    if !target.is_device && target.size < bytes {
        target.file.set_len(bytes).map_err(fail_at(&target))?;
        target.size = bytes;
    }
    // Where all reads as zeroes there is nothing left to erase.
    if args.nodiscard || !discard(&target) {
        wipe(&target).map_err(fail_at(&target))?;
    }
    let sb = make(&target.file, &plan).map_err(fail_at(&target))?;
    if !args.quiet {
        describe(&target, &plan);
        summary(&sb);
    }
    Ok(())
}

fn fail_at(target: &Target) -> impl FnOnce(io::Error) -> Failure + '_ {
    |error| Failure::io(target.path.display(), &error)
}

/// Opens the target; with `-s` a file that does not exist is created, and the second value is true.
fn open(args: &Args) -> Result<(Target, bool), Failure> {
    let create = args.size.is_some() && !args.dry_run && !args.device.exists();
    if create {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&args.device)
            .map_err(|error| Failure::io(args.device.display(), &error))?;
    }
    let access = if args.dry_run {
        Access::Read
    } else {
        Access::Write
    };
    Ok((Target::open(&args.device, access)?, create))
}

/// Asks whether `what` may be overwritten. Anything but an answer that begins with "y" is a no.
fn confirm(target: &Target, what: &str) -> Result<(), Failure> {
    let path = target.path.display();
    let refusal = || Failure::new(format!("{path}: contains {what}; use -f to overwrite it"));
    print!("{path} contains {what}. Overwrite it? [y/N] ");
    let _ = io::stdout().flush();

    // A person may think as long as they like; a script that has no answer has none in a second
    // either.
    let answer = if io::stdin().is_terminal() {
        read_line()
    } else {
        let (send, receive) = mpsc::channel();
        std::thread::spawn(move || send.send(read_line()));
        receive
            .recv_timeout(Duration::from_secs(2))
            .unwrap_or_default()
    };
    println!();
    if answer.trim_start().to_ascii_lowercase().starts_with('y') {
        Ok(())
    } else {
        Err(refusal())
    }
}

fn read_line() -> String {
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(_) => line,
        Err(_) => String::new(),
    }
}

fn describe(target: &Target, plan: &Plan) {
    let g = &plan.geometry;
    let label = String::from_utf8_lossy(&plan.label);
    let _ = writeln!(
        io::stdout(),
        "{}: latchfs, {} ({} blocks of {BLOCK_SIZE} bytes)\n\
         uuid {}{}\n\
         {} allocation group{} of {} blocks, log of {} at block {}",
        target.path.display(),
        size::human(g.block_count().saturating_mul(BLOCK_SIZE as u64)),
        g.block_count(),
        uuid::Uuid::from_bytes(plan.uuid),
        if label.is_empty() {
            String::new()
        } else {
            format!(", label '{label}'")
        },
        g.ag_count(),
        if g.ag_count() == 1 { "" } else { "s" },
        g.ag_blocks(),
        size::human(u64::from(g.log().len) * BLOCK_SIZE as u64),
        g.log().start,
    );
}

fn summary(sb: &Superblock) {
    let free = sb.free_blocks.get().saturating_mul(BLOCK_SIZE as u64);
    let _ = writeln!(io::stdout(), "{} free", size::human(free));
}
