//! `docs/guarantees.md` names a test for each promise that is kept; each of them exists.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
};

const BEHAVIOURS: usize = 118;
const NOT_YET: &str = "not yet kept";

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// `file::name` of every test, where `file` is the path without its ending.
fn tests_below(folder: &str, found: &mut HashSet<String>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            tests_below(&path, found);
        } else if let Some(file) = path.strip_suffix(".rs") {
            let text = fs::read_to_string(root().join(&path)).unwrap();
            assert!(!text.contains(concat!("#[", "ignore")), "{path} has a test that is never run");
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                    is_test = true;
                } else if let Some((before, name)) = line.split_once("fn ") {
                    if is_test && matches!(before, "" | "async ") {
                        found.insert(format!("{file}::{}", name.split('(').next().unwrap()));
                    }
                    is_test = false;
                }
            }
        }
    }
}

#[test]
fn every_promise_has_a_row_and_every_named_test_exists() {
    let mut tests = HashSet::new();
    tests_below("tests", &mut tests);
    tests_below("src", &mut tests);
    let page = fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in page.lines() {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, _promise, shown_by] = cells[..] else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        assert!(rows.insert(number, shown_by.to_owned()).is_none(), "two rows for {number}");
    }
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), (1..=BEHAVIOURS).collect::<Vec<_>>());
    for (number, shown_by) in rows {
        if shown_by.starts_with(NOT_YET) {
            continue;
        }
        let named: Vec<_> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{number} is claimed without a test");
        for test in named {
            assert!(tests.contains(test), "{number} names {test}, which does not exist");
        }
    }
}
