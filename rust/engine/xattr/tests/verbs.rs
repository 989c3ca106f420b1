// SPDX-License-Identifier: GPL-2.0

//! What xattr(7) and acl(5) say.

use super::*;

#[test]
fn set_get_list_remove() {
    let mut f = Fixture::new(8192);
    let m = f.m.clone();
    let a = file(&m, b"a");
    assert_eq!(errno(value_of(&m, &a, user(b"x"))), Errno::NODATA);
    assert_eq!(errno(del_attr(&m, &a, user(b"x"))), Errno::NODATA);
    assert!(!has_any(&a));
    put_attr(&m, &a, user(b"x"), b"one").unwrap();
    put_attr(&m, &a, Name::new(AttrSpace::Trusted, b"x"), b"").unwrap();
    put_attr(&m, &a, Name::new(AttrSpace::Security, b"x"), b"three").unwrap();
    assert_eq!(value_of(&m, &a, user(b"x")).unwrap(), b"one");
    assert_eq!(all(&m, &a).len(), 3);
    del_attr(&m, &a, user(b"x")).unwrap();
    assert_eq!(errno(value_of(&m, &a, user(b"x"))), Errno::NODATA);
    let ino = a.ino;
    drop((a, m));
    let sum = remount(&mut f);
    assert_eq!(sum.attrs[&ino.0].len(), 2);
    let a = inode::iget(&f.m, ino).unwrap();
    assert_eq!(all(&f.m, &a), sum.attrs[&ino.0]);
}

#[test]
fn create_and_replace() {
    let f = Fixture::new(8192);
    let a = file(&f.m, b"a");
    let with = |how, value: &[u8]| set(&f.m, &a, user(b"x"), value, how, &Change::default());
    assert_eq!(errno(with(How::Replace, b"1")), Errno::NODATA);
    with(How::Create, b"1").unwrap();
    assert_eq!(errno(with(How::Create, b"2")), Errno::EXIST);
    assert_eq!(value_of(&f.m, &a, user(b"x")).unwrap(), b"1");
    with(How::Replace, b"22").unwrap();
    assert_eq!(value_of(&f.m, &a, user(b"x")).unwrap(), b"22");
}

#[test]
fn limits() {
    let f = Fixture::new(8192);
    let a = file(&f.m, b"a");
    let most = MAX_ATTR_VALUE as usize;
    let big = pattern(most + 1, 1);
    assert_eq!(errno(put_attr(&f.m, &a, user(b"x"), &big)), Errno::TOOBIG);
    put_attr(&f.m, &a, user(b"x"), &big[..most]).unwrap();
    assert_eq!(value_of(&f.m, &a, user(b"x")).unwrap(), &big[..most]);
    // The whole buffer is too short by one.
    let mut short = vec![0; most - 1];
    assert_eq!(errno(get(&f.m, &a, user(b"x"), &mut short)), Errno::RANGE);
    put_attr(&f.m, &a, user(b"y"), b"12345").unwrap();
    assert_eq!(errno(get(&f.m, &a, user(b"y"), &mut [0; 4])), Errno::RANGE);
    assert_eq!(get(&f.m, &a, user(b"y"), &mut [0; 9]).unwrap(), 5);

    let long = [b'n'; 251];
    assert_eq!(errno(put_attr(&f.m, &a, user(&long), b"")), Errno::INVAL);
    put_attr(&f.m, &a, user(&long[..250]), b"").unwrap();
    assert_eq!(errno(put_attr(&f.m, &a, user(b""), b"")), Errno::INVAL);
    assert_eq!(errno(put_attr(&f.m, &a, user(b"a\0b"), b"")), Errno::INVAL);
    let acl = Name::new(AttrSpace::AclAccess, b"x");
    assert_eq!(errno(put_attr(&f.m, &a, acl, b"")), Errno::INVAL);
}

#[test]
fn an_acl_and_the_mode_change_together() {
    let f = Fixture::new(8192);
    let a = file(&f.m, b"a");
    let acl = Name::new(AttrSpace::AclAccess, b"");
    let mode = |mode| Change {
        mode: Some(mode),
        ..Change::default()
    };
    let before = f.m.stats().commits();
    set_acl(&f.m, &a, acl, Some(b"acl"), &mode(0o640)).unwrap();
    assert_eq!(f.m.stats().commits(), before + 1);
    assert_eq!(a.attrs().mode, 0o100640);
    assert_eq!(value_of(&f.m, &a, acl).unwrap(), b"acl");
    set_acl(&f.m, &a, acl, None, &mode(0o600)).unwrap();
    assert_eq!(a.attrs().mode, 0o100600);
    assert!(!has_any(&a));
    // There is nothing to remove, and the mode changes all the same.
    set_acl(&f.m, &a, acl, None, &mode(0o644)).unwrap();
    assert_eq!(a.attrs().mode, 0o100644);
}

/// ACLs and labels of a new inode are there with its name.
#[test]
fn a_new_inode_has_its_attributes() {
    let mut f = Fixture::new(16384);
    let m = f.m.clone();
    let long = pattern(65536, 3);
    // A chunk of inodes exists from here on.
    drop(file(&m, b"first"));
    let mut made = Vec::new();
    for (n, len) in [10, 200, 1000, 2100, 20_000, 65536].into_iter().enumerate() {
        let value = &long[..len];
        let attrs = [
            (AttrSpace::AclAccess, &b""[..], value),
            (AttrSpace::AclDefault, b"", value),
            (AttrSpace::Security, b"label", &b"system_u:object_r"[..]),
        ]
        .map(|(space, name, value)| InitAttr {
            name: Name::new(space, name),
            value,
        });
        let new = NewInode {
            mode: 0o040755,
            ..NewInode::default()
        };
        let name = format!("d{n}");
        let dir = namespace::create_with_attrs(&m, &root(&m), name.as_bytes(), &new, &attrs);
        let dir = dir.unwrap();
        let file = namespace::tmpfile_with_attrs(
            &m,
            &dir,
            &NewInode {
                mode: 0o100600,
                ..NewInode::default()
            },
            &attrs,
        )
        .unwrap();
        assert_eq!(all(&m, &file), all(&m, &dir));
        namespace::inactivate_later(&m, file);
        let link = namespace::symlink_with_attrs(
            &m,
            &dir,
            b"link",
            &NewInode::default(),
            &long[..300].iter().map(|b| b | 1).collect::<Vec<u8>>(),
            &attrs[2..],
        )
        .unwrap();
        assert_eq!(all(&m, &link).len(), 1);
        // One transaction, where there are free inodes.
        let plain = NewInode {
            mode: 0o100644,
            ..NewInode::default()
        };
        let commits = m.stats().commits();
        let name = format!("f{n}");
        namespace::create_with_attrs(&m, &root(&m), name.as_bytes(), &plain, &attrs).unwrap();
        assert_eq!(m.stats().commits(), commits + 1);
        let values = all(&m, &dir);
        assert_eq!(values.len(), 3);
        assert_eq!(values[&(AttrSpace::AclDefault, Vec::new())], value);
        made.push((dir.ino, values));
    }
    let new = NewInode {
        mode: 0o100644,
        ..NewInode::default()
    };
    let attr = InitAttr {
        name: user(b"x"),
        value: &long,
    };
    let many = [attr; 5];
    let refused = namespace::create_with_attrs(&m, &root(&m), b"e", &new, &many);
    assert_eq!(errno(refused), Errno::TOOBIG);
    namespace::inodegc_flush(&m).unwrap();
    drop(m);
    let sum = remount(&mut f);
    for (ino, values) in made {
        assert_eq!(sum.attrs[&ino.0], values);
    }
}

/// Blocks of attributes count, and come back with the inode.
#[test]
fn blocks_are_counted_and_freed() {
    let mut f = Fixture::new(16384);
    let m = f.m.clone();
    // The inode's chunk exists from here on.
    drop(file(&m, b"first"));
    let free = f.free_blocks();
    let a = file(&m, b"a");
    let value = pattern(65536, 9);
    for n in 0..40_u32 {
        let name = format!("large{n}");
        put_attr(&m, &a, user(name.as_bytes()), &value).unwrap();
        let name = format!("small{n}");
        put_attr(&m, &a, user(name.as_bytes()), &value[..1500]).unwrap();
    }
    let blocks = a.attrs().blocks;
    assert!(blocks >= 40 * 17 + 20, "{blocks}");
    assert_eq!(f.free_blocks(), free - blocks);
    let ino = a.ino;
    drop((a, m));
    let sum = remount(&mut f);
    assert_eq!(sum.slots[&ino.0].blocks.get(), blocks);
    let m = f.m.clone();
    let a = inode::iget(&m, ino).unwrap();
    unlink(&m, b"a", a);
    assert_eq!(f.free_blocks(), free);
    drop(m);
    remount(&mut f);
}

/// With no space left attributes can be removed and replaced by others in the inode.
#[test]
fn without_space() {
    let f = Fixture::new(4096);
    let m = f.m.clone();
    let a = file(&m, b"a");
    let value = pattern(65536, 9);
    let mut n = 0_u32;
    let error = loop {
        let name = format!("n{n}");
        match put_attr(&m, &a, user(name.as_bytes()), &value) {
            Ok(()) => n += 1,
            Err(e) => break e,
        }
    };
    assert_eq!(error.errno(), Errno::NOSPC);
    assert!(n > 100, "{n}");
    assert_eq!(all(&m, &a).len(), n as usize);
    for k in 0..n {
        del_attr(&m, &a, user(format!("n{k}").as_bytes())).unwrap();
    }
    assert!(!has_any(&a));
    assert_eq!(a.attrs().blocks, 0);
    m.unmount().unwrap();
    check::check(&Device::new(f.disk.clone(), false), false).unwrap();
}
