// SPDX-License-Identifier: GPL-2.0

//! The program on the sample image.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use latchfs_image::sample;
use tempfile::TempDir;

struct Bench {
    _dir: TempDir,
    image: PathBuf,
}

/// The sample image in a file.
fn bench() -> Bench {
    let dir = TempDir::new().unwrap();
    let image = dir.path().join("image");
    let file = File::create(&image).unwrap();
    let dev = sample().image.dev;
    file.set_len(dev.blocks() * 4096).unwrap();
    let mut block = latchfs_host::Block::must_zeroed();
    for at in 0..dev.blocks() {
        dev.read_block(at, &mut block).unwrap();
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(&block[..], at * 4096).unwrap();
        }
    }
    Bench { _dir: dir, image }
}

impl Bench {
    /// Runs a command; its output and whether it worked.
    fn run(&self, command: &str, args: &[&str]) -> (bool, Vec<u8>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_latchfs"))
            .arg(command)
            .arg(&self.image)
            .args(args)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (output.status.success(), output.stdout, stderr)
    }

    fn text(&self, command: &str, args: &[&str]) -> String {
        let (ok, stdout, stderr) = self.run(command, args);
        assert!(ok, "{stderr}");
        String::from_utf8(stdout).unwrap()
    }

    fn json(&self, command: &str, args: &[&str]) -> serde_json::Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.text(command, &args)).unwrap()
    }
}

#[test]
fn shows_everything() {
    let bench = bench();
    let sb = bench.json("super", &[]);
    assert_eq!(sb["label"], "test");
    assert_eq!(sb["state"][0], "clean");
    assert_eq!(sb["ag_count"], 4);
    assert!(bench.text("super", &[]).contains("label"));

    let groups = bench.json("ag", &[]);
    let free: u64 = (0..4).map(|n| groups[n]["free"].as_u64().unwrap()).sum();
    assert_eq!(sb["free_blocks"], free);
    let group = bench.json("ag", &["0"]);
    assert_eq!(group["orphans"], 1);
    assert_eq!(group["maps"][0]["present"], 3);

    let inode = bench.json("inode", &["/dir/sub"]);
    assert_eq!(inode["type"], "directory");
    assert_eq!(inode["defect"], serde_json::Value::Null);
    let same = bench.json("inode", &[&inode["ino"].to_string()]);
    assert_eq!(same, inode);

    let tree = bench.json("tree", &["/many"]);
    let nodes = tree["nodes"].as_array().unwrap();
    let entries: usize = nodes
        .iter()
        .map(|node| node["entries"].as_array().map_or(0, Vec::len))
        .sum();
    assert_eq!(entries, 120);
    assert!(bench.text("tree", &["/big"]).contains("unwritten"));

    let stat = bench.json("stat", &["/device"]);
    assert_eq!(stat["rdev"], "8,1");
    assert_eq!(stat["mode"], "brw-r--r--");
    let block = bench.json("block", &["0"]);
    assert_eq!(
        (&block["content"], &block["is_static"]),
        (&"superblock".into(), &true.into())
    );
}

#[test]
fn lists_and_reads() {
    let bench = bench();
    assert_eq!(bench.text("ls", &["/dir"]), "inner\nother name\nsub\n");
    let all = bench.text("ls", &["-R"]);
    assert!(all.contains("/dir/sub:") && all.contains("/many:"));
    let long = bench.text("ls", &["-l", "/"]);
    assert!(long.contains("short -> file"));
    let (ok, content, _) = bench.run("cat", &["/file"]);
    assert!(ok);
    assert_eq!(content.len(), 40_000);
    // The first block tells which file it is of, block 4 is a hole.
    assert_ne!(content[..8], [0; 8]);
    assert!(content[4 * 4096..8 * 4096].iter().all(|byte| *byte == 0));
    assert_eq!(content, bench.run("cat", &["/dir/other name"]).1);
}

#[test]
fn says_what_is_wrong() {
    let bench = bench();
    for (command, args, words) in [
        ("cat", &["/nothing"][..], "No such file"),
        ("cat", &["/dir"][..], "no regular file"),
        ("ls", &["/file"][..], "no directory"),
        ("inode", &["99999999"][..], "no inode"),
        ("ag", &["4"][..], "4 allocation groups"),
        ("block", &["99999999"][..], "16384 blocks"),
        ("tree", &["/file"][..], "no tree"),
    ] {
        let (ok, _, stderr) = bench.run(command, args);
        assert!(!ok && stderr.contains(words), "{command}: {stderr}");
        assert_eq!(stderr.lines().count(), 1);
    }
}

/// A log with checkpoints in it, after a crash: what the engine wrote, without an unmount.
#[test]
fn log() {
    use latchfs_engine::engine::{
        inode,
        mount::{Mount, MountOpts},
        namespace::{self, NewInode},
        Result,
    };

    let bench = bench();
    let clean = bench.json("log", &[]);
    assert_eq!(clean["clean"], true);
    assert_eq!(clean["checkpoints"].as_array().unwrap().len(), 0);
    assert_eq!(clean["head"], clean["lower_bound"]);

    let file = File::options()
        .read(true)
        .write(true)
        .open(&bench.image)
        .unwrap();
    let blocks = file.metadata().unwrap().len() / 4096;
    let change = || -> Result {
        let dev = latchfs_host::Device::file(file, blocks, false);
        let m = Mount::open(dev, MountOpts::default())?;
        let root = inode::iget(&m, m.root_ino())?;
        let node = NewInode {
            mode: 0o040_755,
            ..NewInode::default()
        };
        for n in 0..3 {
            let name = format!("made {n}");
            namespace::create(&m, &root, name.as_bytes(), &node)?;
            m.sync()?;
        }
        // The crash.
        std::mem::forget(root);
        std::mem::forget(m);
        Ok(())
    };
    change().unwrap();

    let log = bench.json("log", &["-r"]);
    assert_eq!(log["clean"], false);
    let checkpoints = log["checkpoints"].as_array().unwrap();
    assert!(checkpoints.len() >= 3, "{log}");
    for (n, checkpoint) in checkpoints.iter().enumerate() {
        assert_eq!(checkpoint["seq"], n as u64 + 1);
        assert_eq!(checkpoint["replayed"], true);
        let records = checkpoint["contents"].as_array().unwrap();
        assert_eq!(
            records.len() as u64,
            checkpoint["records"].as_u64().unwrap()
        );
        assert_eq!(records.last().unwrap()["kind"], "commit");
    }
    let kinds: Vec<&str> = checkpoints[0]["contents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["kind"].as_str().unwrap())
        .collect();
    assert!(kinds.contains(&"inode"), "{kinds:?}");
    let text = bench.text("log", &["-r"]);
    assert!(text.contains("core, "), "{text}");
    assert!(!bench.text("log", &[]).contains("core, "));
    let all = bench.json("log", &["--all"]);
    assert!(all["checkpoints"].as_array().unwrap().len() >= checkpoints.len());
}
