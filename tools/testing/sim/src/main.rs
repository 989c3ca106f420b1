// SPDX-License-Identifier: GPL-2.0

//! latchfs-sim: runs seeds and short sequences, and counts.

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use latchfs_host::sim::Rng;
#[cfg(feature = "races")]
use latchfs_host::sync_point::Session;
#[cfg(feature = "races")]
use latchfs_sim::mutants;
use latchfs_sim::{
    ace::{sequences, Last, Start, Step, LASTS},
    disk::Broken,
    run::{self, Effort},
};
use latchfs_tool::cli;
use std::{
    process::ExitCode,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Mutex,
    },
    time::Instant,
};

const TOOL: &str = "latchfs-sim";

/// Crash the engine of latchfs in every way a disk allows, and check what is recovered.
#[derive(Debug, Parser)]
#[command(name = TOOL, version)]
struct Args {
    /// How many seeds
    #[arg(long, default_value_t = 0)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// Crash states of each seed, at most
    #[arg(long, default_value_t = 150)]
    states: u64,
    /// Sequences of up to this many operations, with a crash at each event: 1 to 3
    #[arg(long)]
    ace: Option<usize>,
    /// Of the longest sequences take one in this many
    #[arg(long, default_value_t = 1)]
    ace_sample: u64,
    /// Stop after this many seconds; 0: when all is done
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// Threads; 0: one a CPU
    #[arg(long, default_value_t = 0)]
    jobs: usize,
    /// Do not look at states with fsck -n before they are recovered
    #[arg(long)]
    no_fsck_n: bool,
    /// Print all that the first seed did
    #[arg(long)]
    tell: bool,
    /// Run a mutant of the engine (with --tell or --seeds)
    #[cfg(feature = "races")]
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Run seeds on each mutant that a crash shows, until it does
    #[cfg(feature = "races")]
    #[arg(long)]
    mutants: bool,
}

/// What the threads have counted.
#[derive(Default)]
struct Count {
    passed: AtomicU64,
    failed: AtomicU64,
    states: AtomicU64,
    nested: AtomicU64,
    ops: AtomicU64,
    violations: AtomicU64,
}

/// A piece of work.
enum Job {
    Seed(u64),
    Sequence(Vec<Step>, Last),
}

fn main() -> ExitCode {
    let args = match cli::parse::<Args>(TOOL, 2) {
        Ok(args) => args,
        Err(code) => return code,
    };
    #[cfg(feature = "races")]
    if args.mutants {
        return mutants();
    }
    #[cfg(feature = "races")]
    let _session = match args.mutant.as_deref().map(mutants::named) {
        Some(None) => {
            eprintln!("{TOOL}: no such mutant");
            return ExitCode::FAILURE;
        }
        Some(mutant) => Some(Session::begin(mutant)),
        None => None,
    };
    if args.tell {
        println!("{}", run::tell(args.first_seed));
        return ExitCode::SUCCESS;
    }
    let mut jobs: Vec<Job> = Vec::new();
    if let Some(most) = args.ace {
        jobs.extend(ace(most.clamp(1, 3), args.ace_sample));
    }
    jobs.extend((args.first_seed..args.first_seed + args.seeds).map(Job::Seed));
    let count = Count::default();
    let begun = Instant::now();
    work(&args, jobs, &count, begun);

    let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let seconds = begun.elapsed().as_secs_f64();
    let states = get(&count.states);
    println!(
        "{} operations, {states} crash states ({} of them in recovery), {:.0} a second, {} violations, {seconds:.0} s",
        get(&count.ops),
        get(&count.nested),
        states as f64 / seconds.max(0.001),
        get(&count.violations),
    );
    println!(
        "{} passed, {} failed",
        get(&count.passed),
        get(&count.failed)
    );
    if get(&count.failed) == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Every mutant that a crash shows.
#[cfg(feature = "races")]
fn mutants() -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    for (mutant, what) in mutants::SHOWN {
        match mutants::hunt(*mutant, mutants::SEEDS) {
            Some((seed, found)) => {
                passed += 1;
                let line = found.lines().next().unwrap_or_default();
                let line: String = line.chars().take(120).collect();
                println!("ok mutant {}, {what}: seed {seed}: {line}", mutant.name());
            }
            None => {
                failed += 1;
                println!("not ok mutant {}, {what}: not found", mutant.name());
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed != 0))
}

/// The sequences, the longest ones sampled.
fn ace(most: usize, sample: u64) -> Vec<Job> {
    let mut rng = Rng::new(1);
    let mut jobs = Vec::new();
    for steps in sequences(most) {
        for last in LASTS {
            if steps.len() < most || most == 1 || rng.one_in(sample) {
                jobs.push(Job::Sequence(steps.clone(), last));
            }
        }
    }
    jobs
}

fn work(args: &Args, jobs: Vec<Job>, count: &Count, begun: Instant) {
    let bar = ProgressBar::new(jobs.len() as u64);
    let style = "{elapsed} {bar:30} {pos}/{len} {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = if args.jobs == 0 { cpus } else { args.jobs };
    let start = jobs
        .iter()
        .any(|job| matches!(job, Job::Sequence(..)))
        .then(Start::new);
    let effort = Effort {
        states: args.states,
        unrecovered: !args.no_fsck_n,
        broken: Broken::No,
    };
    let next = Mutex::new(jobs.into_iter());
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        for _ in 0..threads {
            s.spawn(|| loop {
                if args.seconds != 0 && begun.elapsed().as_secs() >= args.seconds {
                    stop.store(true, Ordering::Relaxed);
                }
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let job = next.lock().unwrap_or_else(|e| e.into_inner()).next();
                let Some(job) = job else {
                    return;
                };
                one(job, start.as_ref(), &effort, count, &bar);
            });
        }
    });
    bar.finish_and_clear();
}

fn one(job: Job, start: Option<&Start>, effort: &Effort, count: &Count, bar: &ProgressBar) {
    let add = |n: &AtomicU64, by: u64| n.fetch_add(by, Ordering::Relaxed);
    let violations = match (&job, start) {
        (Job::Sequence(steps, last), Some(start)) => {
            let tally = start.explore(steps, *last);
            add(&count.states, tally.states);
            add(&count.ops, steps.len() as u64 + 1);
            Vec::from_iter(tally.violation)
        }
        (Job::Seed(seed), _) => {
            let outcome = run::seed(*seed, effort);
            add(&count.states, outcome.states);
            add(&count.nested, outcome.nested);
            add(&count.ops, outcome.ops);
            outcome.violations
        }
        (Job::Sequence(..), None) => Vec::new(),
    };
    if violations.is_empty() {
        add(&count.passed, 1);
    } else {
        add(&count.failed, 1);
        add(&count.violations, violations.len() as u64);
        bar.suspend(|| report(&job, &violations));
    }
    bar.inc(1);
    let states = count.states.load(Ordering::Relaxed);
    let failed = count.failed.load(Ordering::Relaxed);
    bar.set_message(format!("{states} crash states, {failed} failed"));
}

fn report(job: &Job, violations: &[String]) {
    match job {
        Job::Seed(seed) => {
            println!("not ok seed {seed}");
            for violation in violations {
                println!("  {}", violation.replace('\n', "\n  "));
            }
            println!("  again: make sim SEEDS=1 FIRST_SEED={seed}");
        }
        Job::Sequence(..) => {
            for violation in violations {
                println!("not ok sequence {}", violation.replace('\n', "\n  "));
            }
            println!("  again: make sim ACE=full");
        }
    }
}
