//! Precedence, refusals and masking of settings.

use super::*;

fn read(file: &str, env: &[(&str, &str)], flags: &[(&str, &str, &str)]) -> Result<Layers, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.toml");
    std::fs::write(&path, file).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let flags =
        flags.iter().map(|(key, value, flag)| ((*key).to_owned(), (*value).to_owned(), (*flag).to_owned())).collect();
    Layers::read(Some(&path), env, flags)
}

#[track_caller]
fn check_refused(file: &str, env: &[(&str, &str)], expect: &[&str]) {
    let error = read(file, env, &[]).and_then(|layers| layers.config()).expect_err("should be refused").to_string();
    for part in expect {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn the_defaults_are_complete() {
    let config = Layers::read(None, [], Vec::new()).unwrap().config().unwrap();
    assert_eq!(config.grpc.address.to_string(), "127.0.0.1:7407");
    assert_eq!(config.plans.memory, 2 << 30);
    assert!(config.check_exposure().is_ok());
}

#[test]
fn flags_beat_the_environment_beats_the_file() {
    let file = "[grpc]\naddress = '127.0.0.1:1'\n[http]\naddress = '127.0.0.1:2'\n[log]\nlevel = 'warn'\n";
    let env =
        [("TIDEGATE__GRPC__ADDRESS", "127.0.0.1:3"), ("TIDEGATE__HTTP__ADDRESS", "127.0.0.1:4"), ("PATH", "/bin")];
    let flags = [("grpc.address", "127.0.0.1:5", "--grpc-address")];
    let layers = read(file, &env, &flags).unwrap();
    let config = layers.config().unwrap();
    assert_eq!(config.grpc.address.port(), 5);
    assert_eq!(config.http.address.port(), 4);
    assert_eq!(config.log.level, "warn");
    let shown = show::show(&layers);
    assert!(shown.contains("# flag --grpc-address"), "{shown}");
    assert!(shown.contains("# environment TIDEGATE__HTTP__ADDRESS"), "{shown}");
    assert!(shown.contains("tidegate.toml"), "{shown}");
    assert!(shown.contains("# default"), "{shown}");
}

#[test]
fn what_does_not_fit_is_refused_where_it_was_said() {
    check_refused(
        "[grpc]\nadress = '127.0.0.1:1'",
        &[],
        &["tidegate.toml", "`grpc.adress`", "did you mean `grpc.address`"],
    );
    check_refused("[plans]\nmemory = 'plenty'", &[], &["tidegate.toml", "`plans.memory`", "512MiB"]);
    check_refused("[plans]\nmemory = 5", &[], &["`plans.memory`", "a string"]);
    check_refused("[grpc", &[], &["not valid TOML"]);
    check_refused("", &[("TIDEGATE__PLANS__THREADS", "many")], &["TIDEGATE__PLANS__THREADS", "a whole number"]);
    check_refused("", &[("TIDEGATE__PLANS__THREAD", "2")], &["did you mean `plans.threads`"]);
}

#[test]
fn credentials_in_uris_are_masked() {
    let layers = read("[tables]\nroots = ['https://ann:hunter2@lake/x', '/srv/lake']", &[], &[]).unwrap();
    let shown = show::show(&layers);
    assert!(!shown.contains("hunter2") && !shown.contains("ann:"), "{shown}");
    assert!(shown.contains("https://***@lake/x") && shown.contains("/srv/lake"), "{shown}");
}

#[test]
fn clusters_have_names_and_options_of_their_own() {
    let file = "[kafka.clusters.main]\nbrokers = ['a:9092', 'b:9092']\nsasl.username = 'ann'\n'fetch.min.bytes' = 10\n";
    let env = [("TIDEGATE__KAFKA__CLUSTERS__MAIN__SASL__PASSWORD", "hunter2")];
    let layers = read(file, &env, &[("kafka.clusters.other.brokers", "c:9092", "--set")]).unwrap();
    let config = layers.config().unwrap();
    let main = &config.kafka.clusters["main"];
    assert_eq!(main.get("brokers"), Some("a:9092,b:9092"));
    assert_eq!(main.get("sasl.password"), Some("hunter2"));
    assert_eq!(main.get("fetch.min.bytes"), Some("10"));
    assert_eq!(config.kafka.clusters["other"].get("brokers"), Some("c:9092"));
    let (shown, debugged) = (show::show(&layers), format!("{config:?}"));
    assert!(shown.contains("clusters.main.sasl.password = \"***\""), "{shown}");
    assert!(shown.contains("clusters.main.brokers = \"a:9092,b:9092\""), "{shown}");
    assert!(!shown.contains("hunter2") && !debugged.contains("hunter2"), "{shown}\n{debugged}");
    check_refused("[kafka.clusters]\nmain = 'a:9092'", &[], &["`kafka.clusters.main`"]);
    check_refused("[kafka]\nbatch_row = 1", &[], &["did you mean `kafka.batch_rows`"]);
}

#[test]
fn other_machines_are_refused_without_insecure() {
    let address = [("TIDEGATE__GRPC__ADDRESS", "0.0.0.0:7407")];
    let config = read("", &address, &[]).unwrap().config().unwrap();
    let error = config.check_exposure().unwrap_err().to_string();
    assert!(error.contains("grpc.address = 0.0.0.0:7407") && error.contains("--insecure"), "{error}");
    let config = read("[server]\ninsecure = true", &address, &[]).unwrap().config().unwrap();
    assert!(config.check_exposure().is_ok());
}
