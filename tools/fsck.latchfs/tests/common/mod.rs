// SPDX-License-Identifier: GPL-2.0

//! What is found in an image, and whether it can be repaired.

use latchfs_fsck::{check, repair, FileId, Options, Problem, Report};
use latchfs_image::Image;

pub use latchfs_image::{copy, sample, Sample};

/// Checks; and repairs a copy, which must be sound then.
#[track_caller]
pub fn fsck(image: &Image) -> Report {
    let report = check(&image.dev, &Options::default()).expect("there is a superblock");
    let copy = copy(&image.dev);
    let outcome = repair(&copy, &Options::default()).expect("memory does not fail");
    let hopeless = report.problems.iter().any(hopeless);
    assert!(
        outcome.last.is_clean() || hopeless,
        "{:#?} {:#?}",
        outcome.done,
        outcome.last.messages
    );
    assert_eq!(outcome.changed, !outcome.done.is_empty());
    assert!(outcome.changed || hopeless || report.is_clean());

    let again = repair(&copy, &Options::default()).expect("memory does not fail");
    assert!(again.done.is_empty(), "{:#?}", again.done);
    report
}

/// What is not repaired: the hidden files are not guessed.
fn hopeless(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::ReadError { .. }
            | Problem::MapBlockMissing { .. }
            | Problem::ChunkScattered { .. }
            | Problem::ExtentUnwritten {
                file: FileId::InodeMap(_) | FileId::InodeFile(_),
                ..
            }
    )
}

/// Checks that exactly these problems are found.
#[track_caller]
pub fn finds(image: &Image, expected: &[Problem]) {
    let report = fsck(image);
    assert_eq!(report.problems, expected, "{:#?}", report.messages);
}
