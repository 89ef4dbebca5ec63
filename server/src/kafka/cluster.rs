//! Clusters as the configuration has them: any option of librdkafka, but for those that would let the brokers decide what was read.

use rdkafka::ClientConfig;
use tidegate_schemas::catalog::nearest;

use super::Error;
use crate::config::{self, Cluster, Kafka};

/// The option that is called `bootstrap.servers` there.
const BROKERS: &str = "brokers";

/// Options that are the server's to set.
const OURS: [&str; 6] = [
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "statistics.interval.ms",
];

/// Refuses clusters without brokers, and options that don't exist or are the server's.
///
/// # Errors
/// Names the setting and what to do.
pub fn check(kafka: &Kafka) -> Result<(), config::Error> {
    for (name, cluster) in &kafka.clusters {
        let refused = |option: &str, message: String| config::Error::Value {
            origin: "settings".to_owned(),
            key: format!("kafka.clusters.{name}.{option}"),
            message,
        };
        if cluster.get(BROKERS).is_none_or(str::is_empty) {
            return Err(refused(
                BROKERS,
                "is missing; expected addresses such as \"kafka-1:9092,kafka-2:9092\"".to_owned(),
            ));
        }
        for (option, value) in cluster.options() {
            if OURS.contains(&option) {
                return Err(refused(option, format!("is the server's to set; leave it out{}", help(option))));
            }
            if option != BROKERS && ClientConfig::new().set(option, value).create_native_config().is_err() {
                let message = "is no option of librdkafka, has a value that it does not take, or needs TLS or SASL, which this build does \
                               not have; see its CONFIGURATION.md";
                return Err(refused(option, message.to_owned()));
            }
        }
    }
    Ok(())
}

fn help(option: &str) -> &'static str {
    match option {
        "bootstrap.servers" => ", and name the brokers in `brokers`",
        "auto.offset.reset" => ", and say `start` in the source's definition",
        _ => "",
    }
}

/// The cluster of that name.
///
/// # Errors
/// [`Error::NoCluster`].
pub(crate) fn find<'a>(kafka: &'a Kafka, name: &str) -> Result<&'a Cluster, Error> {
    kafka.clusters.get(name).ok_or_else(|| {
        let near = nearest(name, kafka.clusters.keys().map(String::as_str)).map(str::to_owned);
        Error::NoCluster { name: name.to_owned(), near }
    })
}

/// The options of a consumer. `group` is where tools see how far it is, unless the cluster names another.
pub(crate) fn consumer(cluster: &Cluster, group: &str) -> ClientConfig {
    let mut options = ClientConfig::new();
    options.set("group.id", group).set("client.id", "tidegate").set("queued.max.messages.kbytes", "16384");
    for (option, value) in cluster.options() {
        options.set(if option == BROKERS { "bootstrap.servers" } else { option }, value);
    }
    options
        .set("auto.offset.reset", "error")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        .set("statistics.interval.ms", "1000");
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_can_t_be_are_refused_by_name() {
        let check = |options: &[(&str, &str)], word: &str| {
            let cluster = options.iter().map(|(option, value)| ((*option).to_owned(), (*value).to_owned())).collect();
            let mut kafka = crate::config::Layers::read(None, [], Vec::new()).unwrap().config().unwrap().kafka;
            kafka.clusters.insert("main".to_owned(), Cluster::new(cluster));
            let outcome = super::check(&kafka).map_err(|error| error.to_string());
            match word {
                "" => outcome.unwrap(),
                word => assert!(outcome.clone().unwrap_err().contains(word), "{outcome:?}"),
            }
        };
        check(&[("brokers", "a:9092"), ("fetch.wait.max.ms", "10")], "");
        check(&[("client.id", "x")], "kafka.clusters.main.brokers");
        check(&[("brokers", "a:9092"), ("fetch.wait.max", "10")], "kafka.clusters.main.fetch.wait.max");
        check(&[("brokers", "a:9092"), ("auto.offset.reset", "latest")], "`start`");
    }
}
