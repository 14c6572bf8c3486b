//! The fuzzer's targets on a stable compiler: on their seeds, on inputs that once failed, and on
//! small changes of both. `scripts/fuzz` looks further.
#![allow(clippy::unwrap_used)] // helpers of tests fail by panicking

use std::fs;
use std::path::{Path, PathBuf};

use cascade_tools::fuzz::{Seed, TARGETS, Target};

/// Changed inputs of each target.
const CHANGED: usize = 300;
/// Longest input that is changed: what matters of long ones is in short ones too.
const LONGEST_CHANGED: usize = 4096;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn seeds(target: &Target) -> Vec<Seed> {
    let seeds = (target.seeds)(&repository().join("testdata")).unwrap();
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    seeds
}

/// Inputs that once failed.
fn regressions(target: &Target) -> Vec<Seed> {
    let folder = repository().join("fuzz/regressions").join(target.name);
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new(); // there are none
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .map(|path| Seed {
            name: path.display().to_string(),
            bytes: fs::read(path).unwrap(),
        })
        .collect()
}

/// Numbers that are the same in every run (SplitMix64, Steele and others, 2014).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 1).unwrap() % limit.max(1)
    }
}

/// An input with some bytes changed, left out or doubled.
fn changed(input: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut changed = input[..input.len().min(LONGEST_CHANGED)].to_vec();
    for _ in 0..=numbers.below(4) {
        let position = numbers.below(changed.len());
        let length = numbers.below(9).min(changed.len() - position);
        match numbers.below(5) {
            0 if !changed.is_empty() => changed[position] ^= 1 << numbers.below(8),
            1 if !changed.is_empty() => changed[position] = numbers.below(256) as u8,
            2 => drop(changed.drain(position..position + length)),
            3 => {
                let doubled = changed[position..position + length].to_vec();
                changed.splice(position..position, doubled);
            }
            _ => changed.truncate(position),
        }
    }
    changed
}

#[test]
fn seeds_hold() {
    for target in TARGETS {
        for seed in seeds(target) {
            println!("{} {}", target.name, seed.name); // shown when it fails
            (target.run)(&seed.bytes);
        }
    }
}

#[test]
fn inputs_that_once_failed_hold() {
    for target in TARGETS {
        for input in regressions(target) {
            println!("{} {}", target.name, input.name);
            (target.run)(&input.bytes);
        }
    }
}

#[test]
fn changed_inputs_hold() {
    for target in TARGETS {
        let inputs = [seeds(target), regressions(target)].concat();
        let mut numbers = Numbers(1);
        for round in 0..CHANGED {
            let input = &inputs[numbers.below(inputs.len())];
            let bytes = changed(&input.bytes, &mut numbers);
            println!("{} {} changed, round {round}", target.name, input.name);
            (target.run)(&bytes);
        }
    }
}

#[test]
fn every_target_has_its_program() {
    let mut programs: Vec<String> = fs::read_dir(repository().join("fuzz/fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    programs.sort();
    let mut names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    assert_eq!(programs, names);
    let manifest = fs::read_to_string(repository().join("fuzz/Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
