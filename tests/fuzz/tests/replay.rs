//! Runs every target over its kept corpus and over mutations of it, which are the same in each run.
//!
//! `FUZZ_RUNS=100000 cargo test --release -p fuzz-targets json` runs more mutations of one target.

use std::{
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
};

use fuzz_targets::{MAX_LEN, TARGETS};

/// The mutations of a target in a usual run; an input of `stored` or `room` is a whole life of a room.
fn default_runs(target: &str) -> u64 {
    match target {
        "stored" | "room" => 200,
        _ => 1_000,
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder(target)).expect("the corpus of the target");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), fs::read(path).expect("a file of the corpus"));
    let mut corpus: Vec<_> = paths.into_iter().map(read).collect();
    if target == "stored" {
        // The form of today's storage, whatever that of the kept files is.
        for (mode, (key, value)) in (0..).zip(fuzz_targets::records()) {
            let input = [&[b'0' + mode % 4][..], key.as_bytes(), b" ", &value].concat();
            corpus.push((key.into(), input));
        }
    }
    corpus
}

/// Texts and numbers at which mistakes are made.
const TOKENS: [&[u8]; 12] = [
    b"18446744073709551615",
    b"9007199254740992",
    b"-1",
    b"0",
    b"null",
    b"[[",
    b"{\"",
    b"\\u0000",
    b"\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b" ",
    b"1e999",
];

/// Changes an input a little.
fn mutate(random: &mut Random, corpus: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].1.clone();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(9)).min(bytes.len());
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 => drop(bytes.drain(at..end)),
            3 => drop(bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].iter().copied())),
            4 => drop(bytes.splice(at..end, TOKENS[random.below(TOKENS.len())].iter().copied())),
            5 => {
                let copied = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copied));
            }
            _ => {
                let other = &corpus[random.below(corpus.len())].1;
                let from = random.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from.min(other.len())..]);
            }
        }
    }
    bytes.truncate(MAX_LEN);
    bytes
}

/// Runs a target, and says what the input was if it fails.
fn run(target: &str, name: &str, bytes: &[u8]) {
    let (_, function) = TARGETS.iter().find(|(known, _)| *known == target).expect("a target");
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| function(bytes))) {
        let file = env::temp_dir().join(format!("fuzz-{target}-failure"));
        let kept = fs::write(&file, bytes).map(|()| file.display().to_string());
        eprintln!(
            "the target `{target}` fails for {name}\nbytes: {bytes:?}\ntext: \"{}\"\nfile: {}",
            bytes.escape_ascii(),
            kept.unwrap_or_else(|error| error.to_string()),
        );
        resume_unwind(panic);
    }
}

fn replay(target: &str) {
    if let Some(file) = env::var_os("FUZZ_FILE") {
        let bytes = fs::read(&file).expect("FUZZ_FILE is a file");
        return run(target, &file.to_string_lossy(), &bytes);
    }
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "the target `{target}` has no corpus");
    for (path, bytes) in &corpus {
        run(target, &path.display().to_string(), bytes);
    }
    let runs = env::var("FUZZ_RUNS").map_or(default_runs(target), |runs| runs.parse().expect("FUZZ_RUNS is a number"));
    let mut random = Random(1);
    for run_number in 0..runs {
        run(target, &format!("mutation {run_number}"), &mutate(&mut random, &corpus));
    }
}

macro_rules! replays {
    ($($target:ident)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target));
            }
        )*

        #[test]
        fn each_target_has_a_replay_a_number_of_runs_and_a_program() {
            let names = TARGETS.map(|(name, _)| name);
            assert_eq!(names, [$(stringify!($target)),*]);
            assert_eq!(names, fuzz_targets::RUNS.map(|(name, _)| name));
            for name in names {
                let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/fuzz_targets/{name}.rs"));
                assert!(program.exists(), "{} is missing", program.display());
            }
        }
    };
}

replays!(json msgpack protocol command stored client room);
