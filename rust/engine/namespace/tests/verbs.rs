// SPDX-License-Identifier: GPL-2.0

//! One test for each verb: what it does, and how it fails.

use super::*;
use crate::engine::dir::EntryBuf;
use crate::format::dirent::FileType;
use crate::sys::Errno;

#[test]
fn a_file_is_created_found_and_gone() {
    let mut f = Fixture::new(16384);
    let m = f.m.clone();
    let root = root(&m);
    let file = create(&m, &root, b"a", &new_file()).unwrap();
    assert_eq!(file.attrs().nlink, 1);
    assert_eq!(file.attrs().mode, 0o100644);
    assert_eq!(file.attrs().btime, at(10));
    assert_eq!(errno(create(&m, &root, b"a", &new_file())), Errno::EXIST);
    let found = lookup(&m, &root, b"a").unwrap().unwrap();
    assert!(found.same(&file));
    assert!(lookup(&m, &root, b"b").unwrap().is_none());
    assert_eq!(root.attrs().size, 19);
    drop(found);

    unlink(&m, &root, b"a", &file, at(20)).unwrap();
    assert_eq!(file.attrs().nlink, 0);
    assert_eq!(file.attrs().ctime, at(20));
    assert_eq!(root.attrs().mtime, at(20));
    assert!(lookup(&m, &root, b"a").unwrap().is_none());
    let (ino, generation) = (file.ino, file.generation());
    put(&m, file);
    assert_eq!(errno(inode::iget_handle(&m, ino, generation)), Errno::STALE);
    inodegc_flush(&m).unwrap();
    assert_eq!(errno(inode::iget(&m, ino)), Errno::NOENT);
    drop(root);
    drop(m);
    remount(&mut f);
}

#[test]
fn attributes_survive_a_remount() {
    let mut f = Fixture::new(16384);
    let m = f.m.clone();
    let root = self::root(&m);
    let new = NewInode {
        mode: 0o060640,
        uid: 70_000,
        gid: 80_000,
        projid: 5,
        rdev: 0x0012_3456,
        flags: 0x80,
        now: Time {
            secs: -62_135_596_800,
            nanos: 999_999_999,
        },
    };
    let dev = create(&m, &root, b"dev", &new).unwrap();
    let change = Change {
        mode: Some(0o4755),
        atime: Some(at(1 << 40)),
        mtime: Some(at(-5)),
        ..Change::default()
    };
    setattr(&m, &dev, &change).unwrap();
    let before = dev.attrs();
    assert_eq!(before.mode, 0o064755);
    assert_eq!(before.rdev, 0x0012_3456);
    assert_eq!((before.uid, before.gid, before.projid), (70_000, 80_000, 5));
    set_flags(&m, &dev, 0x10, None, at(4)).unwrap();
    assert_eq!(
        errno(set_flags(&m, &dev, 0x2, None, at(4))),
        Errno::OPNOTSUPP
    );
    let before = dev.attrs();
    drop((dev, root, m));
    remount(&mut f);
    let root = self::root(&f.m);
    let dev = lookup(&f.m, &root, b"dev").unwrap().unwrap();
    assert_eq!(dev.attrs(), before);
    assert!(inode::iget_handle(&f.m, dev.ino, before.generation).is_ok());
    let other = inode::iget_handle(&f.m, dev.ino, before.generation ^ 1);
    assert_eq!(errno(other), Errno::STALE);
}

#[test]
fn directories_count_their_links() {
    let mut f = Fixture::new(16384);
    let m = f.m.clone();
    let root = self::root(&m);
    let d = create(&m, &root, b"d", &new_dir()).unwrap();
    let e = create(&m, &d, b"e", &new_dir()).unwrap();
    assert_eq!(
        (root.attrs().nlink, d.attrs().nlink, e.attrs().nlink),
        (3, 3, 2)
    );
    assert!(parent(&m, &e).unwrap().same(&d));
    assert_eq!(errno(rmdir(&m, &root, b"d", &d, at(1))), Errno::NOTEMPTY);
    assert_eq!(errno(unlink(&m, &root, b"d", &d, at(1))), Errno::ISDIR);
    assert_eq!(errno(link(&m, &d, &root, b"x", at(1))), Errno::PERM);
    let file = create(&m, &d, b"f", &new_file()).unwrap();
    assert_eq!(errno(rmdir(&m, &d, b"f", &file, at(1))), Errno::NOTDIR);
    rmdir(&m, &d, b"e", &e, at(2)).unwrap();
    assert_eq!((d.attrs().nlink, e.attrs().nlink), (2, 0));
    // A removed directory takes no names, and has none.
    assert_eq!(errno(create(&m, &e, b"x", &new_file())), Errno::NOENT);
    let mut buf = EntryBuf::try_new().unwrap();
    readdir(&m, &e, 0, &mut buf).unwrap();
    assert!(buf.is_empty());
    put(&m, e);
    drop((d, file, root, m));
    let sum = remount(&mut f);
    assert_eq!(sum.slots.len(), 3);
}

#[test]
fn hard_links_and_names_of_all_lengths() {
    let mut f = Fixture::new(16384);
    let m = f.m.clone();
    let root = self::root(&m);
    let long = [b'n'; 255];
    let file = create(&m, &root, &long, &new_file()).unwrap();
    assert_eq!(
        errno(create(&m, &root, &[b'n'; 256], &new_file())),
        Errno::NAMETOOLONG
    );
    for bad in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
        assert_eq!(errno(create(&m, &root, bad, &new_file())), Errno::INVAL);
    }
    link(&m, &file, &root, b"\xff\x01 \n", at(3)).unwrap();
    assert_eq!(errno(link(&m, &file, &root, &long, at(3))), Errno::EXIST);
    assert_eq!(file.attrs().nlink, 2);
    unlink(&m, &root, &long, &file, at(4)).unwrap();
    assert_eq!(errno(unlink(&m, &root, &long, &file, at(4))), Errno::NOENT);
    drop((file, root, m));
    remount(&mut f);
    let root = self::root(&f.m);
    let file = lookup(&f.m, &root, b"\xff\x01 \n").unwrap().unwrap();
    assert_eq!(file.attrs().nlink, 1);
}

#[test]
fn symlinks_short_and_long() {
    let mut f = Fixture::new(16384);
    for len in [1, 319, 320, 321, 4031, 4032, 4033, 4095] {
        let m = f.m.clone();
        let root = self::root(&m);
        let target: std::vec::Vec<u8> = (0..len).map(|i| b'a' + (i % 26) as u8).collect();
        let link = symlink(&m, &root, b"l", &new_file(), &target).unwrap();
        assert_eq!(link.attrs().mode, 0o120777);
        let mut out = [0; 4096];
        assert_eq!(readlink(&m, &link, &mut out).unwrap(), len);
        drop((link, root, m));
        remount(&mut f);
        let m = f.m.clone();
        let root = self::root(&m);
        let link = lookup(&m, &root, b"l").unwrap().unwrap();
        assert_eq!(readlink(&m, &link, &mut out).unwrap(), len);
        assert_eq!(&out[..len], &target[..]);
        assert_eq!(
            errno(readlink(&m, &link, &mut out[..len - 1])),
            Errno::RANGE
        );
        unlink(&m, &root, b"l", &link, at(3)).unwrap();
        put(&m, link);
    }
    let m = f.m.clone();
    let root = self::root(&m);
    let too_long = [b'x'; 4096];
    assert_eq!(
        errno(symlink(&m, &root, b"l", &new_file(), &too_long)),
        Errno::NAMETOOLONG
    );
    assert_eq!(
        errno(symlink(&m, &root, b"l", &new_file(), b"")),
        Errno::INVAL
    );
    assert_eq!(
        errno(symlink(&m, &root, b"l", &new_file(), b"a\0b")),
        Errno::INVAL
    );
    assert_eq!(errno(readlink(&m, &root, &mut [0; 4096])), Errno::INVAL);
    drop((root, m));
    let sum = remount(&mut f);
    assert_eq!(sum.slots.len(), 1);
}

fn args<'a>(
    old_dir: &'a InodeRef,
    old_name: &'a [u8],
    inode: &'a InodeRef,
    new_dir: &'a InodeRef,
    new_name: &'a [u8],
    target: Option<&'a InodeRef>,
    flags: RenameFlags,
) -> RenameArgs<'a> {
    RenameArgs {
        old_dir,
        old_name,
        inode,
        new_dir,
        new_name,
        target,
        flags,
        uid: 3,
        gid: 4,
        now: at(50),
    }
}

#[test]
fn rename_moves_replaces_exchanges_and_whites_out() {
    let mut f = Fixture::new(16384);
    let m = f.m.clone();
    let root = self::root(&m);
    let plain = RenameFlags::default();
    let no_replace = RenameFlags {
        no_replace: true,
        ..plain
    };
    let exchange = RenameFlags {
        exchange: true,
        ..plain
    };
    let whiteout = RenameFlags {
        whiteout: true,
        ..plain
    };
    let a = create(&m, &root, b"a", &new_dir()).unwrap();
    let b = create(&m, &root, b"b", &new_dir()).unwrap();
    let sub = create(&m, &a, b"sub", &new_dir()).unwrap();
    let x = create(&m, &a, b"x", &new_file()).unwrap();
    let y = create(&m, &b, b"y", &new_file()).unwrap();

    // A directory to another parent.
    rename(&m, &args(&a, b"sub", &sub, &b, b"moved", None, plain)).unwrap();
    assert!(parent(&m, &sub).unwrap().same(&b));
    assert_eq!((a.attrs().nlink, b.attrs().nlink), (2, 3));
    // A file over another.
    let taken = args(&a, b"x", &x, &b, b"y", Some(&y), no_replace);
    assert_eq!(errno(rename(&m, &taken)), Errno::EXIST);
    let wrong = args(&a, b"x", &x, &b, b"y", None, plain);
    assert_eq!(errno(rename(&m, &wrong)), Errno::EXIST);
    rename(&m, &args(&a, b"x", &x, &b, b"y", Some(&y), plain)).unwrap();
    assert_eq!((y.attrs().nlink, x.attrs().nlink), (0, 1));
    assert!(lookup(&m, &b, b"y").unwrap().unwrap().same(&x));
    put(&m, y);
    // Types must fit, and a replaced directory be empty.
    let over = args(&b, b"y", &x, &b, b"moved", Some(&sub), plain);
    assert_eq!(errno(rename(&m, &over)), Errno::ISDIR);
    let over = args(&b, b"moved", &sub, &b, b"y", Some(&x), plain);
    assert_eq!(errno(rename(&m, &over)), Errno::NOTDIR);
    let over = args(&root, b"a", &a, &root, b"b", Some(&b), plain);
    assert_eq!(errno(rename(&m, &over)), Errno::NOTEMPTY);
    rename(&m, &args(&b, b"moved", &sub, &root, b"a", Some(&a), plain)).unwrap();
    assert_eq!(
        (a.attrs().nlink, b.attrs().nlink, root.attrs().nlink),
        (0, 2, 4)
    );
    assert!(parent(&m, &sub).unwrap().same(&root));
    put(&m, a);
    // A directory and a file change places.
    rename(&m, &args(&root, b"a", &sub, &b, b"y", Some(&x), exchange)).unwrap();
    assert!(parent(&m, &sub).unwrap().same(&b));
    assert_eq!((root.attrs().nlink, b.attrs().nlink), (3, 3));
    assert!(lookup(&m, &root, b"a").unwrap().unwrap().same(&x));
    // Within one directory.
    rename(&m, &args(&root, b"a", &x, &root, b"z", None, no_replace)).unwrap();
    // A whiteout stays.
    rename(&m, &args(&root, b"z", &x, &b, b"q", None, whiteout)).unwrap();
    let w = lookup(&m, &root, b"z").unwrap().unwrap();
    let attrs = w.attrs();
    assert_eq!(
        (attrs.mode, attrs.rdev, attrs.uid, attrs.gid),
        (0o020000, 0, 3, 4)
    );
    // Replacing and a whiteout at once, in one directory.
    let v = create(&m, &b, b"v", &new_file()).unwrap();
    rename(&m, &args(&b, b"q", &x, &b, b"v", Some(&v), whiteout)).unwrap();
    assert_eq!(v.attrs().nlink, 0);
    put(&m, v);
    drop((w, x, sub, b, root, m));
    let sum = remount(&mut f);
    assert_eq!(sum.slots.len(), 6);
}

#[test]
fn tmpfiles_vanish_or_get_a_name() {
    let mut f = Fixture::new(16384);
    let m = f.m.clone();
    let root = self::root(&m);
    let t = tmpfile(&m, &root, &new_file()).unwrap();
    let u = tmpfile(&m, &root, &new_file()).unwrap();
    assert_eq!(t.attrs().nlink, 0);
    m.sync().unwrap();
    link(&m, &t, &root, b"t", at(1)).unwrap();
    assert_eq!(t.attrs().nlink, 1);
    put(&m, u);
    put(&m, t);
    drop((root, m));
    let sum = remount(&mut f);
    assert_eq!(sum.slots.len(), 2);
}

#[test]
fn orphans_of_the_last_mount_are_freed_at_the_next() {
    let f = Fixture::new(16384);
    let m = f.m.clone();
    let root = self::root(&m);
    let t = tmpfile(&m, &root, &new_file()).unwrap();
    let s = symlink(&m, &root, b"s", &new_file(), &[b'x'; 4000]).unwrap();
    let d = create(&m, &root, b"d", &new_dir()).unwrap();
    let keep = create(&m, &root, b"keep", &new_file()).unwrap();
    unlink(&m, &root, b"s", &s, at(1)).unwrap();
    rmdir(&m, &root, b"d", &d, at(1)).unwrap();
    // As after a power cut: durable, in use, and never unmounted.
    m.checkpoint().unwrap();
    let dev = Device::new(f.disk.clone(), false);

    let again = Fixture::mount(&f.disk);
    let orphans = &again.counts().orphans;
    assert_eq!(orphans.load(crate::sys::atomic::Ordering::Relaxed), 3);
    recover_orphans(&again).unwrap();
    again.unmount().unwrap();
    let sum = check::check(&dev, false).unwrap();
    assert_eq!(sum.slots.len(), 2);
    drop((t, s, d, keep));
}

#[test]
fn nothing_changes_on_a_read_only_mount() {
    let f = Fixture::new(16384);
    let m = f.m.clone();
    let root = self::root(&m);
    let file = create(&m, &root, b"a", &new_file()).unwrap();
    m.set_read_only(true).unwrap();
    assert_eq!(errno(create(&m, &root, b"b", &new_file())), Errno::ROFS);
    assert_eq!(errno(unlink(&m, &root, b"a", &file, at(1))), Errno::ROFS);
    assert_eq!(errno(setattr(&m, &file, &Change::default())), Errno::ROFS);
    m.set_read_only(false).unwrap();
    unlink(&m, &root, b"a", &file, at(1)).unwrap();
}

#[test]
fn a_large_directory_is_read_once_and_completely() {
    let mut f = Fixture::new(65536);
    let m = f.m.clone();
    let root = self::root(&m);
    let d = create(&m, &root, b"d", &new_dir()).unwrap();
    for i in 0..3000_u32 {
        let file = create(&m, &d, format!("name-{i}").as_bytes(), &new_file()).unwrap();
        put(&m, file);
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut buf = EntryBuf::try_new().unwrap();
    let mut from = 0;
    loop {
        readdir(&m, &d, from, &mut buf).unwrap();
        if buf.is_empty() {
            break;
        }
        for entry in buf.iter() {
            assert!(entry.key >= from);
            from = entry.key + 1;
            assert!(seen.insert(entry.name.to_vec()));
        }
        // Other names come and go meanwhile.
        let n = format!("other-{from}");
        let other = create(&m, &d, n.as_bytes(), &new_file()).unwrap();
        unlink(&m, &d, n.as_bytes(), &other, at(1)).unwrap();
        put(&m, other);
    }
    assert_eq!(
        seen.iter().filter(|n| n.starts_with(b"name-")).count(),
        3000
    );
    let unique: std::collections::BTreeSet<u64> = (0..3000)
        .map(|i| {
            let name = format!("name-{i}");
            lookup_ino(&m, &d, name.as_bytes()).unwrap().unwrap().ino.0
        })
        .collect();
    assert_eq!(unique.len(), 3000);
    assert_eq!(d.attrs().ino, d.ino.0);
    assert_eq!(
        FileType::from_mode(d.attrs().mode),
        Some(FileType::Directory)
    );
    drop((d, root, m));
    remount(&mut f);
}
