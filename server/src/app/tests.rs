//! Starting: addresses, the folder's lock, and what a stop leaves behind.

use super::*;
use crate::config::Layers;

/// Settings of a server on free ports in `folder`, with more of them as (key, value).
pub(crate) fn settings(folder: &std::path::Path, more: &[(&str, &str)]) -> Config {
    let data_dir = folder.join("data").display().to_string();
    let base = [
        ("server.data_dir", data_dir.as_str()),
        ("grpc.address", "127.0.0.1:0"),
        ("http.address", "127.0.0.1:0"),
        ("plans.threads", "2"),
        ("plans.memory", "256MiB"),
        ("online.block_cache", "8MiB"),
        ("online.entity_cache", "8MiB"),
        ("online.durability", "fast"),
    ];
    let flag = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned(), "test".to_owned());
    let flags = base.iter().chain(more).map(flag).collect();
    Layers::read(None, [], flags).and_then(|layers| layers.config()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_says_where_it_is_and_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let announced = folder.path().join("data/server.json");
    for _ in 0..2 {
        let running = start(settings(folder.path(), &[]), Clock::system()).await.unwrap();
        let text = std::fs::read_to_string(&announced).unwrap();
        assert!(text.contains(&running.grpc.to_string()) && text.contains(&running.http.to_string()), "{text}");
        assert_ne!(running.grpc.port(), 0);
        running.stop().await.unwrap();
        assert!(!announced.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(settings(folder.path(), &[]), Clock::system()).await.unwrap();
    let error =
        start(settings(folder.path(), &[]), Clock::system()).await.err().expect("the folder is taken").to_string();
    assert!(error.contains(&format!("pid {}", std::process::id())) && error.contains("--data-dir"), "{error}");
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_told_before_anything_is_created() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (key, flag) in [("grpc.address", "--grpc-address"), ("http.address", "--http-address")] {
        let settings = settings(folder.path(), &[(key, &address)]);
        let error = start(settings, Clock::system()).await.err().expect("the port is taken").to_string();
        assert!(error.contains(&address) && error.contains(flag), "{error}");
    }
    assert!(!folder.path().join("data").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machines_are_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let exposed = [("grpc.address", "0.0.0.0:0")];
    let error = start(settings(folder.path(), &exposed), Clock::system()).await.err().expect("exposed").to_string();
    assert!(error.contains("--insecure"), "{error}");
    let meant = [("grpc.address", "0.0.0.0:0"), ("server.insecure", "true")];
    start(settings(folder.path(), &meant), Clock::system()).await.unwrap().stop().await.unwrap();
}

#[test]
fn the_command_line_is_consistent() {
    args::verify();
}
