//! The command line parses as its help says.

use super::*;
use clap::{CommandFactory, Parser};

#[derive(Debug, Parser)]
#[command(name = "tidegate")]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

fn parse(line: &str) -> std::result::Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_of_the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn globals_stand_before_or_after_the_verb() {
    for line in ["tidegate -a http://h:1 -p shop status", "tidegate status --address http://h:1 --project shop"] {
        let cli = parse(line).unwrap();
        assert_eq!((cli.globals.address.as_str(), cli.globals.project.as_deref()), ("http://h:1", Some("shop")));
    }
}

#[test]
fn every_verb_has_help_with_examples() {
    for verb in Cli::command().get_subcommands() {
        let has_examples = verb.get_after_help().is_some_and(|help| help.to_string().contains("Examples:"));
        let is_group = verb.has_subcommands();
        assert!(has_examples || is_group || verb.get_name() == "projects", "`{}` has no examples", verb.get_name());
        assert!(verb.get_about().is_some(), "`{}` says nothing about itself", verb.get_name());
    }
}

#[test]
fn verbs_take_what_their_examples_show() {
    for line in [
        "tidegate init",
        "tidegate init ml/definitions",
        "tidegate validate a.yaml b",
        "tidegate plan features --out release.plan --prune --detailed-exitcode",
        "tidegate apply release.plan --yes",
        "tidegate apply features --prune --allow-breaking --json",
        "tidegate get",
        "tidegate get view origin_weather",
        "tidegate get service --yaml",
        "tidegate describe feature_view origin_weather",
        "tidegate delete source x",
        "tidegate registry history --json",
        "tidegate registry rollback 3 --allow-breaking",
        "tidegate projects",
        "tidegate ingest orders a.csv b.csv --null NA --batch-id x",
        "tidegate training-set s --spine a.parquet --split-at 2013-09-01 2013-11-01 --embargo 1d",
        "tidegate training-set s --spine a.parquet --sample late --keep false=0.1 other=0.5 --seed -7 --seal n",
        "tidegate audit s --spine a.parquet --margin 1h --json",
        "tidegate audit s --table labels",
        "tidegate sealed list --json",
        "tidegate sealed show n",
        "tidegate sealed verify n --json",
        "tidegate sealed diff n --against m --out changed.parquet",
        "tidegate sealed delete n",
        "tidegate ingest orders - --format ndjson --ignore-extra-columns",
        "tidegate push clicks a.ndjson b.csv --event-id id --to both --flush --json",
        "tidegate push user_stats - --format arrow --to online",
        "tidegate flush clicks --json",
        "tidegate materialize a b --full",
        "tidegate materialize --detach --output json",
        "tidegate status v --output json",
        "tidegate status --json",
        "tidegate jobs list a b --active --limit 5",
        "tidegate jobs show 7 --watch --output json",
        "tidegate jobs cancel 7",
        "tidegate jobs retry 7",
        "tidegate jobs resume 7",
        "tidegate lookup late_arrival --key origin=EWR carrier=UA --key origin=JFK",
        "tidegate lookup global_rates",
        "tidegate lookup v:a v:b -k origin=EWR --json",
        "tidegate training-set late_arrival --spine s.parquet --out t.parquet --as-of 2013-03-01",
        "tidegate training-set v:a --sql SELECT --event-time at --statuses",
        "tidegate sql SELECT --format csv --param -1 --param x",
    ] {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "tidegate plan",
        "tidegate get nonsense",
        "tidegate lookup late_arrival --key EWR",
        "tidegate training-set s",
        "tidegate training-set s --spine a --sql b",
        "tidegate training-set s --spine a --as-of someday",
        "tidegate ingest orders",
        "tidegate push orders",
        "tidegate push orders a.csv --to nowhere",
        "tidegate registry rollback latest",
        "tidegate get --yaml --json",
        "tidegate jobs show",
        "tidegate jobs cancel seven",
        "tidegate status --output yaml",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}
