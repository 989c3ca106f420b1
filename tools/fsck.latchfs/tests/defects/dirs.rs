// SPDX-License-Identifier: GPL-2.0

use latchfs_engine::format::{hash, AgNumber, FileType, ForkFormat, Ino};
use latchfs_fsck::{Name, Problem};

use super::common::{finds, fsck, sample, Sample};

/// The key of a name, the first of its hash.
fn key(s: &Sample, name: &[u8]) -> u64 {
    hash::first_key(hash::name_hash(s.image.sb.hash_seed.get(), name))
}

fn name(text: &str) -> Name {
    Name(text.as_bytes().to_vec())
}

#[test]
fn dir_size() {
    let s = sample();
    let found = s.image.slot(s.many).size.get();
    s.image.edit_slot(s.many, |slot| slot.size.set(1));
    let problem = Problem::DirSize {
        ino: s.many,
        stored: 1,
        found,
    };
    finds(&s.image, &[problem]);
}

#[test]
fn dirent_hash() {
    for tree in [false, true] {
        let s = sample();
        let (dir, old) = if tree {
            (s.many, "n7")
        } else {
            (s.dir, "inner")
        };
        let key = key(&s, old.as_bytes());
        let mut new = old.as_bytes().to_vec();
        *new.last_mut().unwrap() = b'!';
        s.image.edit_dirent(dir, old.as_bytes(), |record| {
            record[18..].copy_from_slice(&new)
        });
        let problem = Problem::DirentHash {
            dir,
            key,
            name: Name(new),
        };
        finds(&s.image, &[problem]);
    }
}

#[test]
fn dirent_duplicate() {
    let s = sample();
    // The same record twice, the second with the next disambiguator.
    let first = key(&s, b"inner");
    s.image.edit_slot(s.dir, |slot| {
        let mut records: Vec<Vec<u8>> = Vec::new();
        for entry in latchfs_engine::format::dirent::entries(slot.data()) {
            let mut bytes = vec![0; entry.len()];
            entry.encode(&mut bytes).unwrap();
            records.push(bytes.clone());
            if entry.name == b"inner" {
                bytes[..8].copy_from_slice(&(first + 1).to_le_bytes());
                records.push(bytes);
            }
        }
        let bytes = records.concat();
        slot.size.set(bytes.len() as u64);
        assert!(slot.set_data(ForkFormat::InlineDir, 0, &bytes));
    });
    s.image.edit_slot(s.inner, |slot| slot.nlink.set(2));
    let problem = Problem::DirentDuplicate {
        dir: s.dir,
        key: first + 1,
        name: name("inner"),
    };
    finds(&s.image, &[problem]);
}

#[test]
fn dirent_dangling() {
    let s = sample();
    let ino = Ino::new(AgNumber(1), 63);
    s.image.edit_dirent(s.dir, b"other name", |r| {
        r[8..16].copy_from_slice(&ino.0.to_le_bytes())
    });
    s.image.edit_slot(s.file, |slot| slot.nlink.set(1));
    let problem = Problem::DirentDangling {
        dir: s.dir,
        key: key(&s, b"other name"),
        name: name("other name"),
        ino,
    };
    finds(&s.image, &[problem]);
}

#[test]
fn dirent_type() {
    let s = sample();
    s.image.edit_dirent(s.many, b"n99", |record| record[16] = 7);
    let problems = fsck(&s.image).problems;
    let [Problem::DirentType {
        dir,
        stored: 7,
        found: FileType::Regular,
        ..
    }] = problems[..]
    else {
        panic!("{problems:?}");
    };
    assert_eq!(dir, s.many);
}

#[test]
fn dirent_second() {
    let s = sample();
    // "other name" becomes a second name of the directory "sub".
    let (file, sub) = (s.file, s.sub);
    s.image.edit_dirent(s.dir, b"other name", |record| {
        record[8..16].copy_from_slice(&sub.0.to_le_bytes());
        record[16] = FileType::Directory as u8;
    });
    s.image.edit_slot(file, |slot| slot.nlink.set(1));
    let problems = fsck(&s.image).problems;
    let [Problem::DirentSecond {
        dir, ino, first, ..
    }] = problems[..]
    else {
        panic!("{problems:?}");
    };
    assert_eq!((dir, ino, first), (s.dir, sub, s.dir));
}

#[test]
fn root_in_a_directory() {
    let s = sample();
    let root = s.root;
    s.image.edit_dirent(s.dir, b"sub", |r| {
        r[8..16].copy_from_slice(&root.0.to_le_bytes())
    });
    let problems = fsck(&s.image).problems;
    assert!(problems.iter().any(
        |p| matches!(p, Problem::DirentSecond { ino, first, .. } if *ino == root && *first == root)
    ));
}

#[test]
fn dir_parent() {
    let s = sample();
    s.image.edit_slot(s.sub, |slot| slot.parent.set(s.root.0));
    let problem = Problem::DirParent {
        ino: s.sub,
        stored: s.root,
        found: s.dir,
    };
    finds(&s.image, &[problem]);
    s.image.edit_slot(s.sub, |slot| slot.parent.set(s.dir.0));
    s.image.edit_slot(s.root, |slot| slot.parent.set(s.dir.0));
    let problem = Problem::DirParent {
        ino: s.root,
        stored: s.dir,
        found: s.root,
    };
    finds(&s.image, &[problem]);
}

/// A directory whose entry is gone.
#[test]
fn dir_unreachable() {
    let s = sample();
    remove_inline(&s, s.root, b"dir");
    s.image
        .edit_slot(s.root, |slot| slot.nlink.set(slot.nlink.get() - 1));
    finds(&s.image, &[Problem::DirUnreachable { ino: s.dir }]);
}

/// Two directories, each in the other.
#[test]
fn loop_of_directories() {
    let s = sample();
    remove_inline(&s, s.root, b"dir");
    s.image
        .edit_slot(s.root, |slot| slot.nlink.set(slot.nlink.get() - 1));
    let (dir, sub) = (s.dir, s.sub);
    let entry = latchfs_engine::format::Dirent {
        key: key(&s, b"loop"),
        ino: dir,
        ftype: FileType::Directory as u8,
        name: b"loop",
    };
    let mut bytes = vec![0; entry.len()];
    entry.encode(&mut bytes).unwrap();
    s.image.edit_slot(sub, |slot| {
        slot.size.set(bytes.len() as u64);
        slot.nlink.set(3);
        assert!(slot.set_data(ForkFormat::InlineDir, 0, &bytes));
    });
    s.image.edit_slot(dir, |slot| slot.parent.set(sub.0));
    finds(&s.image, &[Problem::DirUnreachable { ino: dir }]);
}

fn remove_inline(s: &Sample, dir: Ino, name: &[u8]) {
    s.image.edit_slot(dir, |slot| {
        let mut bytes = Vec::new();
        for entry in latchfs_engine::format::dirent::entries(slot.data()) {
            let mut record = vec![0; entry.len()];
            entry.encode(&mut record).unwrap();
            if entry.name != name {
                bytes.extend(record);
            }
        }
        slot.size.set(bytes.len() as u64);
        assert!(slot.set_data(ForkFormat::InlineDir, 0, &bytes));
    });
}

#[test]
fn link_count() {
    let s = sample();
    for (ino, found) in [(s.file, 2), (s.dir, 3), (s.root, 5), (s.short, 1)] {
        s.image.edit_slot(ino, |slot| slot.nlink.set(found + 1));
        let problem = Problem::LinkCount {
            ino,
            stored: found + 1,
            found,
        };
        finds(&s.image, &[problem]);
        s.image.edit_slot(ino, |slot| slot.nlink.set(found));
    }
}

#[test]
fn unreferenced() {
    let s = sample();
    remove_inline(&s, s.dir, b"inner");
    finds(&s.image, &[Problem::Unreferenced { ino: s.inner }]);
}

/// Messages name the file.
#[test]
fn paths() {
    let s = sample();
    s.image.edit_slot(s.sub, |slot| slot.nlink.set(9));
    let report = fsck(&s.image);
    let expected = format!("inode {} (/dir/sub): link count is 9, found 2", s.sub);
    assert_eq!(report.messages, [expected]);
}
