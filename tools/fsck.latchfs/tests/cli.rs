// SPDX-License-Identifier: GPL-2.0

//! The program: exit statuses, what it prints, and that -n changes nothing.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use latchfs_image::{sample, Sample};
use tempfile::TempDir;

struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: TempDir::new().unwrap(),
        }
    }

    /// An image in a file.
    fn image(&self, s: &Sample) -> PathBuf {
        let path = self.dir.path().join("image");
        let file = File::create(&path).unwrap();
        let dev = &s.image.dev;
        file.set_len(dev.blocks() * 4096).unwrap();
        let mut block = latchfs_host::Block::must_zeroed();
        for at in 0..dev.blocks() {
            dev.read_block(at, &mut block).unwrap();
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(&block[..], at * 4096).unwrap();
            }
        }
        path
    }

    /// Exit status, stdout, stderr.
    fn run(&self, args: &[&str], path: &Path) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_fsck-latchfs"))
            .args(args)
            .arg(path)
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }
}

#[test]
fn clean() {
    let bench = Bench::new();
    let path = bench.image(&sample());
    for args in [
        &["-n"][..],
        &[],
        &["-f", "-n"],
        &["-p"],
        &["-a"],
        &["-n", "-C0"],
    ] {
        let (status, out, _) = bench.run(args, &path);
        assert_eq!(status, 0, "{args:?} {out}");
        assert!(out.contains("clean"));
    }
    let (status, out, err) = bench.run(&["-n", "-q"], &path);
    assert_eq!((status, out.as_str(), err.as_str()), (0, "", ""));
}

#[test]
fn damaged() {
    let bench = Bench::new();
    let s = sample();
    s.image.edit_slot(s.sub, |slot| slot.nlink.set(7));
    let path = bench.image(&s);
    let before = fs::read(&path).unwrap();

    let (status, out, _) = bench.run(&["-n"], &path);
    assert_eq!(status, 4);
    assert!(
        out.contains("(/dir/sub): link count is 7, found 2"),
        "{out}"
    );
    assert!(before == fs::read(&path).unwrap(), "-n changed something");

    let (status, out, _) = bench.run(&["-y"], &path);
    assert_eq!(status, 1, "{out}");
    assert!(out.contains("corrected"), "{out}");
    assert_eq!(bench.run(&["-n"], &path).0, 0);
    assert_eq!(bench.run(&["-y"], &path).0, 0);
}

#[test]
fn beyond_repair() {
    let bench = Bench::new();
    let s = sample();
    s.image
        .edit_header(1, |header| header.inode_map.area[15] |= 0x80);
    let path = bench.image(&s);
    let (status, out, _) = bench.run(&["-y"], &path);
    assert_eq!(status, 4, "{out}");
    assert!(out.contains("not repaired:\nAG 1: inode map"), "{out}");
}

#[test]
fn cut_off() {
    let bench = Bench::new();
    let path = bench.image(&sample());
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let (status, _, err) = bench.run(&["-n"], &path);
    assert_eq!((status, err.lines().count()), (4, 1), "{err}");
}

#[test]
fn cannot_check() {
    let bench = Bench::new();
    let path = bench.dir.path().join("zeroes");
    File::create(&path).unwrap().set_len(1 << 24).unwrap();
    for (args, path, status, words) in [
        (&["-n"][..], path.as_path(), 8, "no latchfs"),
        (&["-n"], Path::new("/nonexistent"), 8, "No such file"),
        (&["-n"], Path::new("/dev/null"), 8, "not a block device"),
        (&["-n", "-y"], path.as_path(), 16, "cannot be used with"),
        (&["--what"], path.as_path(), 16, "--what"),
    ] {
        let (found, _, err) = bench.run(args, path);
        assert_eq!(found, status, "{err}");
        assert!(err.contains(words), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

/// What has lost its name is in lost+found, with its content.
#[test]
fn lost_and_found() {
    let bench = Bench::new();
    let s = sample();
    // The entry of a file with content points at an inode that is not in use.
    s.image.edit_dirent(s.root, b"big", |record| {
        record[8..16].copy_from_slice(&[63, 0, 0, 0, 1, 0, 0, 0])
    });
    let path = bench.image(&s);
    let (status, out, _) = bench.run(&["-y"], &path);
    assert_eq!(status, 1, "{out}");
    assert!(
        out.contains(&format!("now /lost+found/#{}", s.big)),
        "{out}"
    );

    let target = latchfs_tool::Target::open(&path, latchfs_tool::Access::Read).unwrap();
    let volume = latchfs_tool::Volume::open(target.device().unwrap()).unwrap();
    let found = volume
        .resolve(format!("/lost+found/#{}", s.big).as_bytes())
        .unwrap();
    assert_eq!(found, s.big);
    let (slot, _) = volume.slot(found).unwrap();
    assert_eq!(volume.extents(found, &slot).unwrap().len(), 100);
}

/// Two files that claim the same blocks have blocks of their own afterwards, with the same content.
#[test]
fn shared_blocks_are_copied() {
    use zerocopy::IntoBytes;

    let bench = Bench::new();
    let s = sample();
    let stolen = s.image.slot(s.file).extents()[0];
    s.image.edit_slot(s.inner, |slot| {
        assert!(slot.set_data(slot.data_format().unwrap(), 0, stolen.as_bytes()));
        slot.blocks.set(4);
        slot.size.set(16384);
    });
    let path = bench.image(&s);
    assert_eq!(bench.run(&["-y"], &path).0, 1);
    let target = latchfs_tool::Target::open(&path, latchfs_tool::Access::Read).unwrap();
    let volume = latchfs_tool::Volume::open(target.device().unwrap()).unwrap();
    let mut contents = Vec::new();
    for ino in [s.file, s.inner] {
        let mut content = Vec::new();
        let keep = &mut |bytes: &[u8]| {
            content.extend_from_slice(bytes);
            Ok(())
        };
        volume.content(ino, keep).unwrap();
        content.truncate(16384);
        contents.push(content);
    }
    assert!(contents[0] == contents[1] && contents[0][0] != 0);
}
