// SPDX-License-Identifier: GPL-2.0

//! fsck.latchfs: checks and repairs a latchfs.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use latchfs_engine::engine::recovery::Recovered;
use latchfs_fsck::{check, preen, repair, Failed, Fatal, Options, Report};
use latchfs_tool::{cli, Access, Failure, Target};

const TOOL: &str = "fsck.latchfs";

/// Nothing wrong.
const CLEAN: u8 = 0;
/// Everything that was wrong is repaired.
const CORRECTED: u8 = 1;
/// Something is still wrong.
const UNCORRECTED: u8 = 4;
/// The check could not be done.
const OPERATIONAL: u8 = 8;
/// The command line makes no sense.
const USAGE: u8 = 16;

/// Check and repair a latchfs file system.
///
/// Without -y or -p nothing is changed; the log is then replayed in memory. Exit status: 0 nothing
/// is wrong (whether or not the log was replayed), 1 all errors were corrected, 4 errors are left,
/// 8 the check could not be done, 16 wrong usage.
#[derive(Debug, Parser)]
#[command(name = TOOL, version, disable_version_flag = true)]
struct Args {
    /// Block device or file
    device: PathBuf,
    /// Only check, change nothing (the default)
    #[arg(short = 'n', conflicts_with_all = ["yes", "preen"])]
    no: bool,
    /// Repair everything that can be repaired
    #[arg(short = 'y', conflicts_with = "preen")]
    yes: bool,
    /// For use at boot: replay the log, and repair only if errors are known
    #[arg(short = 'p', visible_short_alias = 'a')]
    preen: bool,
    /// Check even if no errors are known (only with -p is the check otherwise skipped)
    #[arg(short = 'f')]
    force: bool,
    /// Show progress (on a terminal it is shown anyway)
    #[arg(short = 'C')]
    progress: bool,
    /// Print only what is wrong
    #[arg(short = 'q')]
    quiet: bool,
    /// Print the version
    #[arg(short = 'V', action = clap::ArgAction::Version)]
    version: Option<bool>,
}

fn main() -> ExitCode {
    // fsck(8) passes -C with the number of a file descriptor stuck to it; progress is on stderr.
    let args = std::env::args_os().map(|arg| {
        let is_progress = arg
            .to_str()
            .and_then(|arg| arg.strip_prefix("-C"))
            .is_some_and(|fd| !fd.is_empty() && fd.bytes().all(|byte| byte.is_ascii_digit()));
        if is_progress {
            "-C".into()
        } else {
            arg
        }
    });
    let args = match cli::parse_from::<Args>(TOOL, USAGE, args) {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(&args) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            cli::complain(TOOL, failure);
            ExitCode::from(OPERATIONAL)
        }
    }
}

fn run(args: &Args) -> Result<u8, Failure> {
    let access = if args.yes || args.preen {
        Access::Write
    } else {
        Access::ReadExclusive
    };
    let target = Target::open(&args.device, access)?;
    if access == Access::Write {
        target.refuse_loop()?;
    }
    let dev = target.device()?;
    let path = target.path.display();
    let options = Options {
        progress: args.progress || (!args.quiet && io::stderr().is_terminal()),
        ..Options::default()
    };

    if args.preen && !args.force {
        match preen(&dev) {
            Ok(Some(line)) => {
                say(args, format_args!("{path}: {line}"));
                return Ok(CLEAN);
            }
            Ok(None) => {}
            Err(why) => return failed(args, why),
        }
    }
    if access != Access::Write {
        let report = match check(&dev, &options) {
            Ok(report) => report,
            Err(fatal) => return failed(args, fatal.into()),
        };
        if let Some(recovered) = &report.recovered {
            say_recovered(args, recovered, "in memory");
        }
        print_problems(&report);
        summary(args, &report);
        return Ok(if report.is_clean() {
            CLEAN
        } else {
            UNCORRECTED
        });
    }

    let outcome = match repair(&dev, &options) {
        Ok(outcome) => outcome,
        Err(why) => return failed(args, why),
    };
    if let Some(recovered) = &outcome.recovered {
        say_recovered(args, recovered, "on the device");
    }
    for line in &outcome.done {
        println!("{line}");
    }
    if !outcome.last.is_clean() {
        println!("not repaired:");
        print_problems(&outcome.last);
    }
    summary(args, &outcome.last);
    Ok(match (outcome.last.is_clean(), outcome.changed) {
        (true, false) => CLEAN,
        (true, true) => CORRECTED,
        (false, _) => UNCORRECTED,
    })
}

/// Why there is no result.
fn failed(args: &Args, why: Failed) -> Result<u8, Failure> {
    let path = args.device.display();
    match why {
        Failed::Fatal(fatal) => {
            cli::complain(TOOL, format_args!("{path}: {fatal}"));
            Ok(match fatal {
                Fatal::TooShort { .. } => UNCORRECTED,
                _ => OPERATIONAL,
            })
        }
        why => Err(Failure::new(format!("{path}: repair failed: {why}"))),
    }
}

fn say_recovered(args: &Args, recovered: &Recovered, place: &str) {
    say(
        args,
        format_args!(
            "{}: log replayed {place}: {} checkpoints, {} blocks",
            args.device.display(),
            recovered.checkpoints,
            recovered.blocks
        ),
    );
}

fn print_problems(report: &Report) {
    let mut out = io::stdout().lock();
    for message in &report.messages {
        let _ = writeln!(out, "{message}");
    }
    if report.gave_up {
        let _ = writeln!(out, "too many errors; the rest was not checked");
    }
}

fn say(args: &Args, line: impl std::fmt::Display) {
    if !args.quiet {
        println!("{line}");
    }
}

/// The last line: how it is, and what there is.
fn summary(args: &Args, report: &Report) {
    let stats = &report.stats;
    let verdict = match report.problems.len() {
        0 => String::from("clean"),
        1 => String::from("1 error"),
        n => format!("{n} errors"),
    };
    say(
        args,
        format_args!(
            "{}: {verdict}, {} inodes ({} directories, {} orphans), {}/{} blocks",
            args.device.display(),
            stats.inodes,
            stats.directories,
            stats.orphans,
            stats.used_blocks,
            stats.blocks,
        ),
    );
}
