// SPDX-License-Identifier: GPL-2.0

//! latchfs: looks into a file system that is not mounted.
//!
//! Every command makes a value of [`model`] first; text and JSON are two views of the same value.

mod commands;
mod log;
mod model;
mod text;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use latchfs_tool::{cli, Access, Failure, Target, Volume};

const TOOL: &str = "latchfs";

/// Look into a latchfs file system; nothing is changed.
#[derive(Debug, Parser)]
#[command(name = TOOL, version)]
struct Args {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The superblock
    Super {
        /// Block device or file
        device: PathBuf,
    },
    /// Allocation groups: all in short, or one in full
    Ag {
        /// Block device or file
        device: PathBuf,
        /// Number of the group
        ag: Option<u32>,
    },
    /// The inode of a file, as it is on disk
    Inode {
        /// Block device or file
        device: PathBuf,
        /// Path from the root, or inode number
        file: String,
    },
    /// The nodes of the tree of a file or directory
    Tree {
        /// Block device or file
        device: PathBuf,
        /// Path from the root, or inode number, with :attrs for its attributes; ag:N:inodes and ag:N:map
        /// for the hidden files
        file: String,
    },
    /// What a block is
    Block {
        /// Block device or file
        device: PathBuf,
        /// Number of the block
        block: u64,
    },
    /// The log: the checkpoints that replay needs
    Log {
        /// Block device or file
        device: PathBuf,
        /// Every complete checkpoint that is still there, of earlier mounts, too
        #[arg(short, long)]
        all: bool,
        /// With the records of each
        #[arg(short, long)]
        records: bool,
    },
    /// The entries of a directory
    Ls {
        /// Block device or file
        device: PathBuf,
        /// Path from the root, or inode number
        #[arg(default_value = "/")]
        file: String,
        /// With type, mode, links, owner, size and time
        #[arg(short)]
        long: bool,
        /// With all directories below
        #[arg(short = 'R')]
        recursive: bool,
    },
    /// The content of a file
    Cat {
        /// Block device or file
        device: PathBuf,
        /// Path from the root, or inode number
        file: String,
    },
    /// What stat(2) says of a file
    Stat {
        /// Block device or file
        device: PathBuf,
        /// Path from the root, or inode number
        file: String,
    },
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
    use Command::*;

    let (Super { device }
    | Ag { device, .. }
    | Inode { device, .. }
    | Tree { device, .. }
    | Block { device, .. }
    | Log { device, .. }
    | Ls { device, .. }
    | Cat { device, .. }
    | Stat { device, .. }) = &args.command;
    let target = Target::open(device, Access::Read)?;
    let named = |why: Failure| Failure::new(format!("{}: {why}", device.display()));
    let volume = Volume::open(target.device()?).map_err(named)?;

    match &args.command {
        Super { .. } => show(args, &commands::superblock(&volume)?),
        Ag { ag: None, .. } => show(args, &commands::groups(&volume)?),
        Ag { ag: Some(ag), .. } => show(args, &commands::group(&volume, *ag)?),
        Inode { file, .. } => show(args, &commands::inode(&volume, file)?),
        Tree { file, .. } => show(args, &commands::tree(&volume, file)?),
        Block { block, .. } => show(args, &commands::block(&volume, *block)?),
        Log { all, records, .. } => show(args, &log::log(&volume, *all, *records)?),
        Ls {
            file,
            long,
            recursive,
            ..
        } => {
            let listing = commands::list(&volume, file, *recursive)?;
            match args.json {
                true => show(args, &listing),
                false => print(&text::listing(&listing, *long)),
            }
        }
        Cat { file, .. } => commands::cat(&volume, file, &mut io::stdout().lock()),
        Stat { file, .. } => show(args, &commands::stat(&volume, file)?),
    }
}

/// Prints a value.
fn show<T: serde::Serialize>(args: &Args, value: &T) -> Result<(), Failure> {
    let fail = |error: serde_json::Error| Failure::new(error.to_string());
    let text = match args.json {
        true => serde_json::to_string_pretty(value).map_err(fail)? + "\n",
        false => text::tree(&serde_json::to_value(value).map_err(fail)?),
    };
    print(&text)
}

fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // The reader has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::io("output", &error)),
        Ok(()) => Ok(()),
    }
}
