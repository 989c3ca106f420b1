// SPDX-License-Identifier: GPL-2.0

//! The size on disk: it gets to the size that users see when all data is written, whatever order
//! things happen in, and it does not get there before.

use super::{
    super::*,
    calls::{File, KB},
};

/// Three written blocks, cut in the middle of the second one.
fn cut_in_the_second_block() -> File {
    let file = File::new(16384);
    file.write(0, 12 * KB);
    file.submit(&mut WbCtx::default(), 0, 12 * KB);
    file.complete(0, 12 * KB, None);
    file.truncate(6 * KB);
    assert_eq!(file.disk_size(), 6 * KB);
    file
}

/// Both completions of a write come before the engine is told of its size, which the page cache had
/// since before they were submitted.
#[test]
fn the_size_does_not_depend_on_when_the_engine_is_told_of_it() {
    let file = cut_in_the_second_block();
    // write(2) at 8 KiB: the rest of the second block is zeroed in the page cache.
    write_begin(file.m(), &file.inode, 8 * KB, 4 * KB, false).unwrap();
    let mut wb = WbCtx::default();
    file.submit(&mut wb, 4 * KB, 4 * KB);
    file.submit(&mut wb, 8 * KB, 4 * KB);
    file.complete(8 * KB, 4 * KB, None);
    assert_eq!(file.disk_size(), 6 * KB);
    file.complete(4 * KB, 4 * KB, None);
    assert_eq!(file.disk_size(), 12 * KB);
    set_isize(&file.inode, 12 * KB);
    assert_eq!(
        write_end(file.m(), &file.inode, 8 * KB, 4 * KB, 4 * KB, true),
        None
    );
    assert_eq!(file.disk_size(), 12 * KB);
}
