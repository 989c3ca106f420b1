// SPDX-License-Identifier: GPL-2.0

//! In the inode, in a tree, and back; beside the data fork; names of one hash.

use super::*;

#[test]
fn from_the_inode_to_a_tree_and_back() {
    let mut f = Fixture::new(8192);
    let m = f.m.clone();
    let a = file(&m, b"a");
    let names: Vec<Vec<u8>> = (0..200).map(|n| format!("name{n}").into_bytes()).collect();
    let mut went = None;
    for (n, name) in names.iter().enumerate() {
        put_attr(&m, &a, user(name), &pattern(20, n as u8)).unwrap();
        if form(&a) == ForkFormat::AttrTree {
            went.get_or_insert(n);
        }
    }
    assert!(went.is_some_and(|n| (4..8).contains(&n)), "{went:?}");
    let mut back = None;
    for (n, name) in names.iter().enumerate() {
        assert_eq!(value_of(&m, &a, user(name)).unwrap(), pattern(20, n as u8));
        del_attr(&m, &a, user(name)).unwrap();
        if form(&a) == ForkFormat::InlineAttrs {
            back.get_or_insert(names.len() - n);
        }
    }
    assert!(back.is_some_and(|n| (2..5).contains(&n)), "{back:?}");
    assert_eq!(form(&a), ForkFormat::None);
    assert_eq!(a.attrs().blocks, 0);
    assert_eq!(a.ilock.read().data.limit, 320);
    drop((a, m));
    remount(&mut f);
}

/// One attribute grows and shrinks through all forms its value can have.
#[test]
fn a_value_of_any_length() {
    let mut f = Fixture::new(8192);
    let m = f.m.clone();
    let a = file(&m, b"a");
    let lens = [
        0, 1, 100, 239, 240, 241, 400, 1990, 1996, 1997, 1998, 2014, 4031, 4032, 4033, 8064,
        40_000, 65_535, 65_536,
    ];
    let there_and_back = lens.iter().chain(lens.iter().rev());
    for (n, len) in there_and_back.enumerate() {
        let value = pattern(*len, n as u8);
        put_attr(&m, &a, user(b"v"), &value).unwrap();
        assert_eq!(value_of(&m, &a, user(b"v")).unwrap(), value);
    }
    assert_eq!(form(&a), ForkFormat::InlineAttrs);
    assert_eq!(a.attrs().blocks, 0);
    for (n, len) in lens.iter().enumerate() {
        let name = format!("v{n}");
        put_attr(&m, &a, user(name.as_bytes()), &pattern(*len, n as u8)).unwrap();
    }
    let (ino, values) = (a.ino, all(&m, &a));
    assert_eq!(values.len(), lens.len() + 1);
    drop((a, m));
    let sum = remount(&mut f);
    assert_eq!(sum.attrs[&ino.0], values);
}

/// What attributes take of the inode is missing to the data, and the other way round.
#[test]
fn beside_the_data() {
    let mut f = Fixture::new(8192);
    let m = f.m.clone();
    let new = NewInode {
        mode: 0o040755,
        ..NewInode::default()
    };
    let dir = namespace::create(&m, &root(&m), b"dir", &new).unwrap();
    let entry = |n: usize| format!("entry {n:02}").into_bytes();
    let make = |n: usize| {
        let new = NewInode {
            mode: 0o100644,
            ..NewInode::default()
        };
        drop(namespace::create(&m, &dir, &entry(n), &new).unwrap());
    };
    // 26 bytes each.
    for n in 0..8 {
        make(n);
    }
    assert_eq!(dir.ilock.read().data.format, ForkFormat::InlineDir);
    put_attr(&m, &dir, user(b"fits"), &[1; 60]).unwrap();
    assert_eq!(form(&dir), ForkFormat::InlineAttrs);
    put_attr(&m, &dir, user(b"too much"), &[2; 60]).unwrap();
    assert_eq!(form(&dir), ForkFormat::AttrTree);
    del_attr(&m, &dir, user(b"too much")).unwrap();
    // Half of what is free: not yet.
    assert_eq!(form(&dir), ForkFormat::AttrTree);
    put_attr(&m, &dir, user(b"fits"), &[1; 20]).unwrap();
    assert_eq!(form(&dir), ForkFormat::InlineAttrs);
    for n in 8..20 {
        make(n);
    }
    assert_eq!(dir.ilock.read().data.format, ForkFormat::DirTree);
    assert_eq!(value_of(&m, &dir, user(b"fits")).unwrap(), [1; 20]);
    put_attr(&m, &dir, user(b"more"), &[2; 100]).unwrap();
    assert_eq!(form(&dir), ForkFormat::InlineAttrs);
    for n in 0..20 {
        let found = namespace::lookup(&m, &dir, &entry(n)).unwrap().unwrap();
        namespace::unlink(&m, &dir, &entry(n), &found, Time::default()).unwrap();
        namespace::inactivate_later(&m, found);
    }
    namespace::inodegc_flush(&m).unwrap();
    assert_eq!(dir.ilock.read().data.format, ForkFormat::InlineDir);
    let (ino, values) = (dir.ino, all(&m, &dir));
    drop((dir, m));
    let sum = remount(&mut f);
    assert_eq!(sum.attrs[&ino.0], values);
}

/// Attributes leave less room to a directory than its first name takes.
#[test]
fn beside_a_first_name_that_does_not_fit() {
    let mut f = Fixture::new(8192);
    let m = f.m.clone();
    let new = NewInode {
        mode: 0o040755,
        ..NewInode::default()
    };
    let dir = namespace::create(&m, &root(&m), b"dir", &new).unwrap();
    put_attr(&m, &dir, user(b"large"), &[1; 230]).unwrap();
    assert_eq!(form(&dir), ForkFormat::InlineAttrs);
    let plain = NewInode {
        mode: 0o100644,
        ..NewInode::default()
    };
    for name in [&[b'n'; 100][..], &[b'n'; 255]] {
        drop(namespace::create(&m, &dir, name, &plain).unwrap());
        assert_eq!(dir.ilock.read().data.format, ForkFormat::DirTree);
        let found = namespace::lookup(&m, &dir, name).unwrap().unwrap();
        namespace::unlink(&m, &dir, name, &found, Time::default()).unwrap();
        namespace::inactivate_later(&m, found);
        namespace::inodegc_flush(&m).unwrap();
        assert_eq!(dir.ilock.read().data.format, ForkFormat::InlineDir);
    }
    drop(namespace::create(&m, &dir, &[b'n'; 200], &plain).unwrap());
    drop((dir, m));
    remount(&mut f);
}

/// A symlink whose target fills the inode has room for attributes elsewhere.
#[test]
fn beside_a_full_symlink() {
    let mut f = Fixture::new(8192);
    let m = f.m.clone();
    let target = [b't'; 320];
    let link = namespace::symlink(&m, &root(&m), b"l", &NewInode::default(), &target).unwrap();
    let label = Name::new(AttrSpace::Security, b"label");
    put_attr(&m, &link, label, b"l").unwrap();
    assert_eq!(form(&link), ForkFormat::AttrTree);
    let ino = link.ino;
    drop((link, m));
    let sum = remount(&mut f);
    assert_eq!(sum.attrs[&ino.0].len(), 1);
    let link = inode::iget(&f.m, ino).unwrap();
    let mut out = [0; 400];
    assert_eq!(namespace::readlink(&f.m, &link, &mut out).unwrap(), 320);
    assert_eq!(value_of(&f.m, &link, label).unwrap(), b"l");
}

#[test]
fn names_of_one_hash() {
    with_one_hash(|| {
        let mut f = Fixture::new(8192);
        let m = f.m.clone();
        let a = file(&m, b"a");
        let mut model = Values::new();
        for round in 0..3_u8 {
            for n in 0..150_u32 {
                let name = format!("{}n{n}", if n % 3 == 0 { "~" } else { "" }).into_bytes();
                if (n + u32::from(round)) % 4 == 0 && round > 0 {
                    let gone = del_attr(&m, &a, user(&name));
                    let had = model.remove(&(AttrSpace::User, name)).is_some();
                    assert_eq!(gone.is_ok(), had);
                } else {
                    let value = pattern(n as usize % 60, round);
                    put_attr(&m, &a, user(&name), &value).unwrap();
                    model.insert((AttrSpace::User, name), value);
                }
            }
            assert_eq!(all(&m, &a), model);
        }
        let ino = a.ino;
        drop((a, m));
        let sum = remount(&mut f);
        assert_eq!(sum.attrs[&ino.0], model);
    });
}

/// Data that waits for its blocks counts on its records' place in the inode: nothing is reserved
/// for a tree, and attributes do not take the place.
#[test]
fn beside_delayed_data() {
    use crate::engine::file;
    use crate::sys::witness::LockedFolio;

    const BLOCK: u64 = 4096;
    for (attr_first, blocks, in_tree) in [(false, 18, true), (true, 18, false), (false, 40, false)]
    {
        let mut f = Fixture::new(8192);
        let m = f.m.clone();
        let a = file(&m, b"a");
        let attr = || put_attr(&m, &a, user(b"name"), &[5; 60]).unwrap();
        if attr_first {
            attr();
        }
        let places = (0..blocks).map(|n| 2 * n * BLOCK);
        for pos in places.clone() {
            file::write_begin(&m, &a, pos, BLOCK, false).unwrap();
            file::set_isize(&a, pos + BLOCK);
        }
        if !attr_first {
            attr();
        }
        let form_then = form(&a);
        assert_eq!(form_then == ForkFormat::AttrTree, in_tree, "{blocks}");
        for pos in places {
            let mut wb = file::WbCtx::default();
            let folio = LockedFolio::assume(a.ino.0, pos, BLOCK);
            file::writeback_range(&m, &a, &mut wb, &folio, pos, BLOCK).unwrap();
            file::writeback_submit(&m, &a, &mut wb);
            file::ioend_complete(&m, &a, pos, BLOCK, None).unwrap();
        }
        let inline = a.ilock.read().data.format == ForkFormat::InlineExtents;
        assert_eq!(inline, in_tree, "{blocks}");
        assert_eq!(value_of(&m, &a, user(b"name")).unwrap(), [5; 60]);
        drop((a, m));
        remount(&mut f);
    }
}
