//! What was found before, and small changes of it: the short run that needs no libFuzzer.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::path::Path;

use flickrhub_fuzz::{TARGETS, Target};
use proptest::prelude::*;
use proptest::sample::Index;

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name);
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

#[test]
fn every_target_has_a_corpus_and_takes_it() {
    for target in TARGETS {
        let inputs = corpus(&target);
        assert!(!inputs.is_empty(), "{}", target.name);
        for input in inputs {
            (target.run)(&input);
        }
    }
}

/// One change: bytes put in the place of others.
fn change() -> impl Strategy<Value = (Index, usize, Vec<u8>)> {
    (
        any::<Index>(),
        0..8_usize,
        prop::collection::vec(any::<u8>(), 0..8),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_target_takes_small_changes_of_its_corpus(
        which in any::<Index>(), one in any::<Index>(), changes in prop::collection::vec(change(), 1..6)
    ) {
        let target = which.get(&TARGETS);
        let inputs = corpus(target);
        let mut input = one.get(&inputs).clone();
        for (place, removed, added) in changes {
            let from = place.index(input.len() + 1);
            let until = (from + removed).min(input.len());
            input.splice(from..until, added);
        }
        (target.run)(&input);
    }
}
