//! No input makes the reader panic, hang, or point at a place that is not there.
//!
//! Good files with bytes changed, lines moved and YAML's special characters strewn in; texts that are hard on parsers.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::problem::Problem;

use super::*;

/// Reads a file, and checks that problems point into it.
fn survive(content: &[u8], origin: &str) {
    let files = [file("a.yaml", content)];
    let Err(problems) = super::super::check(&files) else { return };
    assert!(!problems.is_empty(), "{origin}: refused without a reason");
    let text = String::from_utf8_lossy(content);
    let lines = text.split(['\n', '\r']).count();
    for problem in problems {
        assert!(problem.line as usize <= lines + 1, "{origin}: {problem}");
        assert!(!problem.message.is_empty() && !problem.message.contains('\n'), "{origin}: {problem}");
        let _ = problem.to_string();
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn mutated_files() {
    const STREWN: [&str; 30] = [
        "{", "}", "[", "]", ":", ": ", "- ", "? ", "&a ", "*a", "!t ", "|", ">", "'", "\"", "#", "%", "@", "`", "\t",
        "\n", "\r", "---\n", "...\n", "\0", "\u{feff}", "\u{85}", "<<: ", "\\", ",",
    ];
    let seed = number("TIDEGATE_SEED", 11);
    for case in seed..seed + number("TIDEGATE_CASES", 3_000) {
        let rng = &mut StdRng::seed_from_u64(case);
        let mut bytes = EVERYTHING.as_bytes().to_vec();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..5) {
                0 => bytes[at] = rng.random_range(0..=255),
                1 => drop(bytes.splice(at..at, STREWN[rng.random_range(0..STREWN.len())].bytes())),
                2 => drop(bytes.drain(at..(at + rng.random_range(0..60)).min(bytes.len()))),
                3 => {
                    let end = (at + rng.random_range(0..60)).min(bytes.len());
                    let copy = bytes[at..end].to_vec();
                    let to = rng.random_range(0..bytes.len());
                    drop(bytes.splice(to..to, copy));
                }
                _ => bytes.truncate(at.max(1)),
            }
            if bytes.is_empty() {
                bytes.push(b'-');
            }
        }
        survive(&bytes, &format!("TIDEGATE_SEED={case}"));
    }
}

#[test]
fn random_bytes() {
    let seed = number("TIDEGATE_SEED", 13);
    for case in seed..seed + number("TIDEGATE_CASES", 2_000) {
        let rng = &mut StdRng::seed_from_u64(case);
        let plain = rng.random_bool(0.7);
        let mut byte = || {
            if plain {
                *b" \n\t-:?[]{},&*!|>'\"#%abc10~"[..].get(rng.random_range(0..27)).unwrap_or(&b'a')
            } else {
                rng.random()
            }
        };
        let bytes: Vec<u8> = (0..200).map(|_| byte()).collect();
        survive(&bytes, &format!("TIDEGATE_SEED={case}"));
    }
}

#[test]
fn texts_that_are_hard_on_parsers() {
    let times = |text: &str, count: usize| text.repeat(count);
    for (name, text) in [
        ("open lists", times("[", 20_000)),
        ("open mappings", times("{a: ", 20_000)),
        ("nested items", times("- ", 20_000)),
        ("nested keys", times("? ", 20_000)),
        ("deeper and deeper", (0..500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect()),
        ("one long word", times("a", 200_000)),
        ("one long quote", format!("\"{}", times("a\\n", 50_000))),
        ("blank lines", times("\n", 100_000)),
        ("comments", times("# a\n", 50_000)),
        ("keys", (0..5_000).map(|index| format!("k{index}: {index}\n")).collect()),
        ("anchors", (0..2_000).map(|index| format!("k{index}: &a{index} [*a{}]\n", index.max(1) - 1)).collect()),
        ("anchors on anchors", times("&a ", 5_000)),
        ("tags", times("!a ", 5_000)),
        ("directives", times("%TAG ! tag:a,b:\n", 5_000)),
        ("documents", times("---\n", 20_000)),
        (
            "a deep type",
            format!(
                "version: 1\nproject: p\nentities: [{{name: a, keys: [{{name: k, type: '{}'}}]}}]\n",
                times("list<", 50_000)
            ),
        ),
    ] {
        survive(text.as_bytes(), name);
        survive(format!("version: 1\nproject: p\nentities:\n{text}").as_bytes(), name);
    }
}

#[test]
fn many_definitions() {
    let mut text = "version: 1\nproject: p\nsources: [{name: s, event_time: t}]\nfeature_views:\n".to_owned();
    text.push_str("  - name: wide\n    entities: []\n    source: s\n    features:\n");
    (0..1_000).for_each(|index| text.push_str(&format!("      - {{name: f{index}, type: float64}}\n")));
    assert_eq!(good(&text).views["wide"].features.len(), 1_000);

    text.push_str("feature_services:\n");
    (0..1_000).for_each(|index| text.push_str(&format!("  - {{name: a{index}, includes: [a{}]}}\n", index + 1)));
    text.push_str("  - {name: a1000, views: [{view: wide}]}\n");
    check(
        &[file("a.yaml", &text)],
        "a.yaml:1977:28: services include services more than 32 deep
    1977 |   - {name: a967, includes: [a968]}
         |                            ^
    help: list the views themselves",
    );

    let shouted = format!("version: 1\nproject: p\n\"a\\nb\\e[1m{}\": 1\n", "x".repeat(1_000));
    let problems = super::super::check(&[file("a.yaml", shouted)]).expect_err("an unknown field");
    assert!(problems[0].message.starts_with("`a\\nb\\u{1b}[1mxxx") && problems[0].message.len() < 600);

    let mut text = "version: 1\nproject: p\nfeature_services:\n".to_owned();
    (0..2_000).for_each(|index| text.push_str(&format!("  - {{name: a{index}, includes: [z1]}}\n")));
    text.push_str("  - {name: z1, includes: [z2]}\n  - {name: z2, includes: [z1]}\n");
    let problems = super::super::check(&[file("a.yaml", &text)]).expect_err("a circle behind many services");
    assert_eq!(problems[0].message, "the includes of service `a0` lead into a circle");

    let unknown: String = (0..5_000).map(|index| format!("k{index}: 1\n")).collect();
    let problems =
        super::super::check(&[file("a.yaml", format!("version: 1\nproject: p\n{unknown}"))]).expect_err("no");
    assert_eq!(problems.len(), 101);
    assert_eq!(problems[100].to_string(), "a.yaml: more problems in this file are not shown");
}

#[test]
fn many_queries() {
    let of = |count: usize, next: &dyn Fn(usize) -> usize| -> Vec<Problem> {
        let mut text = "version: 1\nproject: p\nsources:\n".to_owned();
        for index in 0..count {
            let reads = next(index);
            let query = format!("{{query: {{sql: SELECT, from: [q{reads}]}}}}");
            text.push_str(&format!("  - {{name: q{index}, event_time: t, table: {query}}}\n"));
        }
        super::super::check(&[file("a.yaml", text)]).expect_err("circles")
    };
    let alone = of(5_000, &|index| index);
    assert_eq!(alone.len(), 100, "more than people read");
    assert_eq!(alone[0].message, "source `q0` reads itself: q0 -> sources.q0");
    let one = of(5_000, &|index| (index + 1) % 5_000);
    assert_eq!(one.len(), 1);
    assert!(one[0].message.starts_with("source `q0` reads itself: q0 -> sources.q1 -> sources.q2"));
}

#[test]
fn many_windows() {
    let head = "version: 1\nproject: p\nsources: [{name: s, event_time: t, columns: [{name: x, type: int64}]}]\n";
    let mut text = format!("{head}feature_views:\n  - name: wide\n    entities: []\n    source: s\n    features:\n");
    for index in 0..2_000 {
        let aggregate = format!("{{fn: sum, column: x, window: {}m}}", index + 5);
        let feature = format!("{{name: f{index}, type: int64, renamed_from: g{index}, aggregate: {aggregate}}}");
        text.push_str(&format!("      - {feature}\n"));
    }
    let catalog = good(&text);
    assert_eq!(catalog.views["wide"].inputs().len(), 1);
    let unknown = text.replace("column: x", "column: y");
    let problems = super::super::check(&[file("a.yaml", unknown)]).expect_err("nothing says a type of y");
    assert_eq!(problems.len(), 101);
}
