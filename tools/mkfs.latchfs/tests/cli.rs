// SPDX-License-Identifier: GPL-2.0

//! The program as users and fstests call it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use latchfs_engine::format::{DiskBlock, Superblock};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    /// A file of `size` zero bytes.
    fn file(&self, size: u64) -> PathBuf {
        let path = self.dir.path().join("image");
        File::create(&path).unwrap().set_len(size).unwrap();
        path
    }

    fn run(&self, args: &[&str], path: &Path, stdin: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mkfs-latchfs"))
            .args(args)
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The program may have ended without reading it.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        child.wait_with_output().unwrap()
    }
}

/// It worked and said nothing on stderr.
fn good(output: &Output) {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

/// It failed with status 1 and one line that has `words`.
fn bad(output: &Output, words: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(words), "{stderr}");
}

fn superblock(path: &Path) -> Superblock {
    let mut bytes = [0; 512];
    File::open(path)
        .unwrap()
        .read_exact_at(&mut bytes, 0)
        .unwrap();
    let sb = *Superblock::of(&bytes).unwrap();
    sb.verify(DiskBlock(0)).unwrap();
    sb
}

#[test]
fn label_and_uuid() {
    let bench = Bench::new();
    let path = bench.file(64 * MIB);
    let uuid = "01234567-89ab-cdef-0123-456789abcdef";
    good(&bench.run(&["-L", "data", "-U", uuid, "-b", "4096"], &path, ""));
    let sb = superblock(&path);
    assert_eq!(sb.label(), b"data");
    assert_eq!(sb.uuid[..4], [0x01, 0x23, 0x45, 0x67]);
    assert!(sb.is_clean());

    // Again over itself: no question, another instance.
    good(&bench.run(&["-U", uuid], &path, ""));
    assert_ne!(superblock(&path).instance.get(), sb.instance.get());
}

#[test]
fn quiet_says_nothing() {
    let bench = Bench::new();
    let output = bench.run(&["-q"], &bench.file(16 * MIB), "");
    good(&output);
    assert!(output.stdout.is_empty());
}

#[test]
fn creates_a_file() {
    let bench = Bench::new();
    let path = bench.dir.path().join("new");
    good(&bench.run(&["-s", "1t"], &path, ""));
    assert_eq!(superblock(&path).block_count.get(), 1 << 28);
    assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 40);
}

#[test]
fn refusals_leave_nothing() {
    let bench = Bench::new();
    let path = bench.dir.path().join("new");
    bad(&bench.run(&["-s", "15m"], &path, ""), "too small");
    bad(&bench.run(&["-b", "1024", "-s", "16m"], &path, ""), "4096");
    bad(&bench.run(&["-s", "tiny"], &path, ""), "not a size");
    bad(&bench.run(&["-U", "x", "-s", "16m"], &path, ""), "UUID");
    bad(
        &bench.run(&["-L", &"x".repeat(65), "-s", "16m"], &path, ""),
        "label",
    );
    bad(
        &bench.run(&["--no-such-option"], &path, ""),
        "--no-such-option",
    );
    bad(&bench.run(&[], &path, ""), "No such file");
    assert!(!path.exists());
    bad(
        &bench.run(&[], Path::new("/dev/null"), ""),
        "not a block device",
    );
}

#[test]
fn dry_run_writes_nothing() {
    let bench = Bench::new();
    let path = bench.file(16 * MIB);
    good(&bench.run(&["-n"], &path, ""));
    assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
}

/// One signature of each family: refused without an answer, erased after "y" or with -f.
#[test]
fn foreign_content() {
    let cases: [(&str, u64, &[u8]); 9] = [
        ("ext2/ext3/ext4", 1080, &[0x53, 0xef]),
        ("xfs", 0, b"XFSB"),
        ("btrfs", 0x10040, b"_BHRfS_M"),
        ("swap", 4086, b"SWAPSPACE2"),
        ("vfat", 82, b"FAT32   "),
        ("iso9660", 0x8001, b"CD001"),
        ("LVM2", 512, b"LABELONE"),
        ("LUKS", 0, b"LUKS\xba\xbe"),
        ("gpt", 16 * MIB - 512, b"EFI PART"),
    ];
    let bench = Bench::new();
    for (name, at, bytes) in cases {
        for (args, answer) in [(&[][..], "y\n"), (&["-f"][..], ""), (&["-K"][..], "yes\n")] {
            let path = bench.file(16 * MIB);
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .write_all_at(bytes, at)
                .unwrap();
            bad(&bench.run(&[], &path, ""), name);
            bad(&bench.run(&[], &path, "n\n"), name);
            good(&bench.run(args, &path, answer));
            superblock(&path);
            let after = fs::read(&path).unwrap();
            let at = at as usize;
            assert_ne!(&after[at..at + bytes.len()], bytes, "{name} is still there");
        }
    }
}

#[test]
fn partition_table() {
    let bench = Bench::new();
    let path = bench.file(16 * MIB);
    let mut sector = [0; 512];
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let file = File::options().write(true).open(&path).unwrap();

    // A boot sector alone is nothing to lose.
    file.write_all_at(&sector, 0).unwrap();
    good(&bench.run(&[], &path, ""));

    sector[450] = 0x83;
    sector[458..462].copy_from_slice(&1000_u32.to_le_bytes());
    file.write_all_at(&sector, 0).unwrap();
    bad(&bench.run(&[], &path, ""), "dos partition table");
}

#[test]
fn log_size() {
    let bench = Bench::new();
    let path = bench.file(256 * MIB);
    good(&bench.run(&[], &path, ""));
    assert_eq!(superblock(&path).log_blocks.get(), 2048);
    good(&bench.run(&["--log-size", "16m"], &path, ""));
    assert_eq!(superblock(&path).log_blocks.get(), 4096);
    bad(&bench.run(&["--log-size", "3m"], &path, ""), "4 MiB");
    bad(&bench.run(&["--log-size", "128m"], &path, ""), "group");
    // The smallest file system has the smallest log.
    let path = bench.file(16 * MIB);
    good(&bench.run(&[], &path, ""));
    assert_eq!(superblock(&path).log_blocks.get(), 1024);
}
