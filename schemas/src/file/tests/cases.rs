//! The cases of `*.txt`, and those whose bytes no text file can hold.

use std::fs;
use std::path::Path;

use crate::plan;

use super::*;

/// `==== name`, then files each after `@ path`, then `----` and what is said of them.
///
/// A file `@ registry` is what the registry holds before. A line `$HEAD` stands for [`HEAD`].
struct Case {
    name: String,
    input: String,
    expect: String,
}

const HEAD: &str = "\
version: 1
project: flights
entities:
  - {name: airport, keys: [{name: origin, type: string}]}
sources:
  - {name: weather, event_time: time_hour}
";

fn read(text: &str) -> Vec<Case> {
    let case = |part: &str| {
        let (name, rest) = part.split_once('\n').expect("a case has lines");
        let (input, expect) = rest.split_once("\n----\n").expect("a case has a line `----`");
        Case { name: name.to_owned(), input: input.to_owned(), expect: expect.trim_end().to_owned() }
    };
    text.split("==== ").skip(1).map(case).collect()
}

fn run(case: &Case) -> String {
    let (mut files, mut registry) = (Vec::new(), None);
    for part in format!("\n{}", case.input).split("\n@ ").skip(1) {
        let (path, content) = part.split_once('\n').unwrap_or((part, ""));
        let content = format!("{content}\n").replace("$HEAD\n", HEAD);
        match path {
            "registry" => registry = Some(good(&content)),
            path => files.push(file(path, content)),
        }
    }
    let outcome = match registry {
        None => super::super::check(&files),
        Some(registry) => load(&files).and_then(|definitions| plan::merge(&registry, &definitions, false)),
    };
    match outcome {
        Ok(_) => "no problems".to_owned(),
        Err(problems) => crate::problem::render(&problems),
    }
}

fn run_all(name: &str) {
    let path = Path::new("src/file/tests").join(name);
    let text = fs::read_to_string(&path).expect(name);
    let cases = read(&text);
    assert!(!cases.is_empty(), "{name} has cases");
    let mut updated = text.split("==== ").next().unwrap_or_default().to_owned();
    let mut wrong = Vec::new();
    for case in &cases {
        let got = run(case);
        updated.push_str(&format!("==== {}\n{}\n----\n{got}\n\n", case.name, case.input));
        if got != case.expect {
            wrong.push(format!("{}\n--- got ---\n{got}\n--- expected ---\n{}", case.name, case.expect));
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, format!("{}\n", updated.trim_end())).expect(name);
        return;
    }
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n\n"));
}

#[test]
fn yaml_problems() {
    run_all("yaml.txt");
}

#[test]
fn structure_problems() {
    run_all("structure.txt");
}

#[test]
fn meaning_problems() {
    run_all("meaning.txt");
}

#[test]
fn window_problems() {
    run_all("windows.txt");
}

#[test]
fn feed_problems() {
    run_all("feeds.txt");
}

#[test]
fn upkeep_problems() {
    run_all("upkeep.txt");
}

#[test]
fn service_problems() {
    run_all("services.txt");
}

#[test]
fn registry_problems() {
    run_all("registry.txt");
}

#[test]
fn bytes_that_are_no_text() {
    check(
        &[file("a.yaml", b"version: 1\nproject: fl\xffights\n")],
        "a.yaml:2:12: the file is not UTF-8: byte 0xff
    2 | project: fl\u{fffd}ights
      |            ^
    help: save the file as UTF-8",
    );
    check(
        &[file("a.yaml", b"\xff\xfev\0e\0")],
        "a.yaml:1:1: the file is not UTF-8: byte 0xff
    1 | \u{fffd}\u{fffd}v e
      | ^
    help: save the file as UTF-8",
    );
    check(
        &[file("a.yaml", "")],
        "a.yaml:1:1: the file is empty
    1 | 
      | ^
    help: a definition file starts with `version: 1`",
    );
    check(&[file("a.yaml", b"\xef\xbb\xbfversion: 1\nproject: p\n")], "no problems");
    let large = vec![b'#'; text::BYTES_MAX + 1];
    check(
        &[file("a.yaml", large)],
        "a.yaml: the file has 4194305 bytes; 4194304 is the limit\n    help: split it into several files",
    );
}

#[test]
fn line_ends_of_all_systems() {
    for end in ["\n", "\r\n", "\r"] {
        let text = ["version: 1", "project: p", "sorces: []", ""].join(end);
        check(
            &[file("a.yaml", text)],
            "a.yaml:3:1: `sorces` is not a field of a definition file
    3 | sorces: []
      | ^^^^^^
    help: did you mean `sources`?",
        );
    }
}
