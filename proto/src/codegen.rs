//! Generates `src/generated/` from `protos/` and holds the committed files against it.
//!
//! `UPDATE_EXPECT=1 cargo test -p tidegate-proto codegen` rewrites them after a change to a `.proto`. protox compiles the
//! protos, so no `protoc` has to be installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

type Files = BTreeMap<String, Vec<u8>>;

#[test]
fn generated_code_is_current() {
    // Cargo runs tests in the package's folder. Paths of the build may be those of another clone that shares its cache.
    let (protos, committed) = (Path::new("protos"), Path::new("src/generated"));
    let fresh = generate(protos);
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        write(committed, &fresh);
    }
    let committed = read(committed);
    let differing = differences(&fresh, &committed);
    assert!(
        differing.is_empty(),
        "{} differ from what the protos generate: run `UPDATE_EXPECT=1 cargo test -p tidegate-proto codegen` and commit",
        differing.join(", ")
    );
}

fn generate(protos: &Path) -> Files {
    let out = std::env::temp_dir().join(format!("tidegate-codegen-{}", std::process::id()));
    fs::create_dir_all(&out).expect("a temporary folder");
    let mut compiler = protox::Compiler::new([protos]).expect("the protos folder");
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(proto_files(protos)).unwrap_or_else(|error| panic!("{error:?}"));
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names().type_name_domain(["."], "type.googleapis.com");
    tonic_prost_build::configure()
        .bytes(".")
        .emit_rerun_if_changed(false)
        .out_dir(&out)
        .compile_fds_with_config(compiler.file_descriptor_set(), config)
        .expect("code from valid protos");
    let mut files = read(&out);
    fs::remove_dir_all(&out).expect("our own temporary folder");
    // Reflection needs no comments and no positions.
    compiler.include_source_info(false);
    files.insert("descriptors.bin".to_owned(), compiler.encode_file_descriptor_set());
    files
}

fn proto_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(proto_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("a file")))
        .collect()
}

fn write(folder: &Path, files: &Files) {
    for stale in read(folder).keys().filter(|name| !files.contains_key(*name)) {
        fs::remove_file(folder.join(stale)).expect("a file of ours");
    }
    for (name, content) in files {
        fs::write(folder.join(name), content).expect("a writable source folder");
    }
}

fn differences<'a>(left: &'a Files, right: &'a Files) -> Vec<&'a str> {
    let names: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    names.into_iter().filter(|name| left.get(*name) != right.get(*name)).map(String::as_str).collect()
}
