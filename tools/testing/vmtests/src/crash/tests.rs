// SPDX-License-Identifier: GPL-2.0

//! The oracle itself: it must accept what a crash may leave, and nothing else.

use std::{
    collections::{
        BTreeMap,
        HashMap, //
    },
    fs,
    os::unix::fs::FileExt,
    path::PathBuf,
};

use super::{
    dmlog::Log,
    history::History,
    load::{
        self,
        Plan,
        Sink, //
    },
    model::{
        stamps,
        Generator,
        Namespace,
        Node,
        Op,
        UNIT, //
    },
    tree::Mounted,
    verify::{
        Acks,
        Found,
        Tree,
        Verifier,
        View, //
    },
};

/// A file system on paper: everything is durable at once.
#[derive(Clone, Default)]
struct Paper {
    space: Namespace,
    content: BTreeMap<u32, Vec<u8>>,
}

impl Paper {
    fn apply(&mut self, n: u64, op: &Op) {
        self.space.apply(op);
        match op {
            Op::Create(_, file) => {
                self.content.insert(*file, Vec::new());
            }
            Op::Write { file, at, len, .. } => {
                let data = stamps(0, *file, n, *at, *len);
                let content = self.content.entry(*file).or_default();
                let (start, end) = ((at * UNIT) as usize, ((at + len) * UNIT) as usize);
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[start..end].copy_from_slice(&data);
            }
            Op::Truncate(_, file, to) => {
                self.content
                    .entry(*file)
                    .or_default()
                    .resize((to * UNIT) as usize, 0);
            }
            _ => {}
        }
    }

    /// After that many operations of worker 0.
    fn at(seed: u64, ops: u64) -> Self {
        let mut paper = Self::default();
        for (n, op) in Generator::new(seed, 0).take(ops as usize).enumerate() {
            paper.apply(n as u64, &op);
        }
        paper
    }

    fn acks(ops: u64) -> Acks {
        Acks::of(&format!("ack 0 {ops}\n"))
    }
}

impl View for Paper {
    fn tree(&mut self, _name: &str) -> Result<Option<Tree>, String> {
        let mut tree = Tree::default();
        for (path, node) in &self.space.names {
            let found = match node {
                Node::Dir => Found::Dir,
                Node::Symlink(target) => Found::Symlink(target.clone().into_bytes()),
                Node::File(file) => {
                    let inode = &self.space.inodes[file];
                    Found::File {
                        ino: u64::from(*file),
                        mode: inode.mode,
                        nlink: inode.nlink,
                    }
                }
            };
            tree.names.insert(path.clone(), found);
        }
        let content = self.content.iter();
        tree.content = content
            .map(|(file, data)| (u64::from(*file), data.clone()))
            .collect::<HashMap<_, _>>();
        Ok(Some(tree))
    }
}

/// The first operations, and how many were done after each mark.
fn start(seed: u64, ops: usize) -> (Vec<Op>, Vec<u64>) {
    let ops: Vec<Op> = Generator::new(seed, 0).take(ops).collect();
    let marks = ops.iter().enumerate().filter(|(_, op)| op.is_mark());
    let marks = marks.map(|(n, _)| n as u64 + 1).collect();
    (ops, marks)
}

/// Whether the file may have been changed between this mark and the next.
fn changed_soon(ops: &[Op], mark: u64, file: u32) -> bool {
    ops[mark as usize..]
        .iter()
        .take_while(|op| !op.is_mark())
        .any(|op| matches!(op, Op::Write { file: f, .. } | Op::Truncate(_, f, _) if *f == file))
}

#[test]
fn every_moment_between_two_marks_is_accepted() {
    for seed in 1..4 {
        let (ops, _) = start(seed, 600);
        let mut verifier = Verifier::new(seed, 1);
        let mut paper = Paper::default();
        let mut low = 0;
        for (n, op) in ops.iter().enumerate() {
            paper.apply(n as u64, op);
            let acks = Paper::acks(low);
            let looked = verifier.verify(&mut paper, &acks, &acks);
            assert!(looked.is_ok(), "seed {seed}, operation {n}: {looked:?}");
            if op.is_mark() {
                low = n as u64 + 1;
            }
        }
    }
}

#[test]
fn names_of_before_the_mark_are_refused() {
    let seed = 3;
    let (ops, marks) = start(seed, 900);
    let (mut lost, mut refused) = (0, 0);
    for mark in marks {
        // the last operation that changed a promised name did not survive
        let promised = History::new(seed, 0).promised(mark);
        let mut papers = vec![Paper::default()];
        for (n, op) in ops[..promised as usize].iter().enumerate() {
            let mut paper = papers[papers.len() - 1].clone();
            paper.apply(n as u64, op);
            if papers[papers.len() - 1].space.names != paper.space.names {
                papers.push(paper);
            } else if let Some(last) = papers.last_mut() {
                *last = paper;
            }
            if papers.len() > 2 {
                papers.remove(0);
            }
        }
        let acks = Paper::acks(mark);
        let mut verifier = Verifier::new(seed, 1);
        lost += 1;
        refused += u64::from(verifier.verify(&mut papers[0], &acks, &acks).is_err());
    }
    // a name that comes and goes may leave the same names: rare
    assert!(
        lost > 60 && refused * 100 >= lost * 97,
        "{refused} of {lost}"
    );
}

#[test]
fn content_of_before_the_fsync_is_refused() {
    let seed = 5;
    let (ops, _) = start(seed, 1200);
    let mut tried = 0;
    for (n, op) in ops.iter().enumerate() {
        let Op::Fsync(_, file) = op else { continue };
        // leave out the last write of that file
        let last = ops[..n].iter().rposition(|op| match op {
            Op::Write { file: f, .. } => f == file,
            _ => false,
        });
        let Some(last) = last else { continue };
        let (mut paper, mut whole) = (Paper::default(), Paper::default());
        for (at, op) in ops[..=n].iter().enumerate() {
            whole.apply(at as u64, op);
            if at == last {
                paper.space.apply(op);
            } else {
                paper.apply(at as u64, op);
            }
        }
        let mark = n as u64 + 1;
        // it may have been truncated away since
        if paper.content.get(file) == whole.content.get(file) || changed_soon(&ops, mark, *file) {
            continue;
        }
        tried += 1;
        let acks = Paper::acks(mark);
        let result = Verifier::new(seed, 1).verify(&mut paper, &acks, &acks);
        assert!(result.is_err(), "operation {last} lost at {n}");
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn foreign_content_is_refused() {
    let seed = 2;
    let (_, marks) = start(seed, 1000);
    let mark = *marks.last().expect("marks");
    let acks = Paper::acks(mark);
    let good = Paper::at(seed, mark);
    let files: Vec<u32> = good.space.inodes.keys().copied().collect();
    let mut tried = 0;
    for file in files {
        let mut paper = good.clone();
        let content = paper.content.get_mut(&file).expect("content");
        if content.is_empty() {
            continue;
        }
        let at = content.len() / 2 / UNIT as usize * UNIT as usize;
        let foreign = stamps(0, file + 1, 7, at as u64 / UNIT, 1);
        content[at..at + UNIT as usize].copy_from_slice(&foreign);
        tried += 1;
        let result = Verifier::new(seed, 1).verify(&mut paper, &acks, &acks);
        assert!(result.is_err(), "file {file}");
    }
    assert!(tried > 10, "{tried}");
}

#[test]
fn the_end_of_a_file_is_exact_after_fsync() {
    let seed = 4;
    let (ops, _) = start(seed, 1000);
    let mut whole = Paper::default();
    let mut verifier = Verifier::new(seed, 1);
    let mut tried = 0;
    for (n, op) in ops.iter().enumerate() {
        whole.apply(n as u64, op);
        let Op::Fsync(_, file) = op else { continue };
        let mark = n as u64 + 1;
        if changed_soon(&ops, mark, *file) {
            continue;
        }
        let mut paper = whole.clone();
        let content = paper.content.get_mut(file).expect("content");
        content.extend_from_slice(&[0; UNIT as usize]);
        tried += 1;
        let acks = Paper::acks(mark);
        let result = verifier.verify(&mut paper, &acks, &acks);
        assert!(result.is_err(), "operation {n}");
    }
    assert!(tried > 30, "{tried}");
}

/// One entry of a log of dm-log-writes with sectors of 512 bytes.
fn log_entry(sector: u64, data: &[u8], flags: u64, mark: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [sector, data.len() as u64 / 512, flags, mark.len() as u64] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(mark.as_bytes());
    out.resize(512, 0);
    out.extend_from_slice(data);
    out
}

#[test]
fn a_log_is_read_and_replayed() {
    let mut bytes = Vec::new();
    for word in [0x006a_7366_7773_6872_u64, 1, 5, 512] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.resize(512, 0);
    bytes.extend(log_entry(2, &[1; 1024], 0, ""));
    bytes.extend(log_entry(0, &[], 1, ""));
    bytes.extend(log_entry(0, &[], 8, "ack 1 20"));
    bytes.extend(log_entry(3, &[2; 512], 2, ""));
    // a discard of one sector, which has no data in the log
    let mut discard = log_entry(2, &[0; 512], 4, "");
    discard.truncate(512);
    bytes.extend(discard);
    let dir = std::env::temp_dir().join(format!("latchfs-dmlog-{}", std::process::id()));
    fs::write(&dir, &bytes).expect("write");
    let log = Log::open(fs::File::open(&dir).expect("open")).expect("log");
    assert_eq!(log.entries.len(), 5);
    assert_eq!(log.next_point(0), Some(1));
    assert_eq!(log.next_point(2), Some(3));
    assert_eq!(log.next_point(4), None);
    assert_eq!(log.acks(2).done.len(), 0);
    assert_eq!(log.acks(3).of_worker(1), 20);

    let disk = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(dir.with_extension("disk"))
        .expect("disk");
    log.replay(&disk, 0..4).expect("replay");
    let mut sectors = [9; 2048];
    disk.read_exact_at(&mut sectors, 0).expect("read");
    assert!(sectors[..1024].iter().all(|b| *b == 0));
    assert!(sectors[1024..1536].iter().all(|b| *b == 1));
    assert!(sectors[1536..].iter().all(|b| *b == 2));
    log.replay(&disk, 4..5).expect("replay");
    disk.read_exact_at(&mut sectors, 0).expect("read");
    assert!(sectors[1024..1536].iter().all(|b| *b == 0));
    let _ = fs::remove_file(dir.with_extension("disk"));
    let _ = fs::remove_file(&dir);
}

#[test]
fn the_load_leaves_what_the_oracle_expects() {
    let root = std::env::temp_dir().join(format!("latchfs-crash-{}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir(&root).expect("mkdir");
    let file: PathBuf = root.with_extension("acks");
    let _ = fs::remove_file(&file);
    let plan = Plan {
        root: root.clone(),
        seed: 9,
        workers: 2,
        ops: 1500,
        end: load::in_seconds(600),
        stop: None,
    };
    let sink = Sink::file(&file.display().to_string()).expect("file");
    let result = load::run(&plan, sink).expect("load");
    assert_eq!(result.errors, Vec::<String>::new());
    assert_eq!(result.ops, 3000);
    let acks = Acks::of(&fs::read_to_string(&file).expect("acks"));
    let mut view = Mounted { root: root.clone() };
    let looked = Verifier::new(9, 2).verify(&mut view, &acks, &acks);
    assert!(looked.is_ok(), "{looked:?}");
    // another seed is another load
    assert!(Verifier::new(10, 2)
        .verify(&mut view, &acks, &acks)
        .is_err());
    let _ = fs::remove_dir_all(&root);
    let _ = fs::remove_file(&file);
}
