//! `tidegate status`: how far the online tier has come, and how far it is behind.

use std::process::ExitCode;

use serde_json::{Value, json};
use tidegate_client::materialize::ViewStatus;
use tidegate_schemas::duration;

use crate::failure::Result;
use crate::output::{Format, Output};
use crate::{Globals, session, values};

/// What to show.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(after_help = "Examples:
  tidegate status
  tidegate status origin_weather --output json

A view is behind by the versions of its table that changed rows and are not served yet, and for as long as the oldest of them has
been there. It is late when that is longer than the `freshness` of its definition.")]
pub struct Args {
    /// Feature views [default: all online ones].
    #[arg(value_name = "VIEW")]
    views: Vec<String>,
    #[command(flatten)]
    format: Format,
}

pub(crate) async fn run(args: &Args, globals: &Globals, out: &mut Output) -> Result<ExitCode> {
    let views = session::open(globals).await?.materialize_status(&args.views).await?;
    if args.format.is_json() {
        out.json(&views.iter().map(to_json).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    let header = ["view", "state", "online at", "table at", "behind", "freshness", "schedule", "materialized"];
    out.table(&header, views.iter().map(row).collect(), "no view is online")?;
    Ok(ExitCode::SUCCESS)
}

fn row(status: &ViewStatus) -> Vec<String> {
    let version = |version: Option<i64>| version.map_or_else(|| "-".to_owned(), |version| format!("version {version}"));
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        status.view.clone(),
        state(status).to_owned(),
        version(status.cursor),
        version(status.table_version),
        behind(status),
        or_dash(status.freshness.map(duration::format)),
        or_dash(Some(status.schedule.clone()).filter(|schedule| !schedule.is_empty())),
        status.materialized_at.map_or_else(|| "never".to_owned(), values::instant),
    ]
}

fn behind(status: &ViewStatus) -> String {
    match (status.versions_behind, status.behind) {
        (Some(0), _) => "0s".to_owned(),
        (Some(1), Some(behind)) => format!("{} (1 version)", values::age(behind)),
        (Some(versions), Some(behind)) => format!("{} ({versions} versions)", values::age(behind)),
        (Some(versions), None) => format!("{versions} versions"),
        (None, _) => "unknown".to_owned(),
    }
}

fn state(status: &ViewStatus) -> &'static str {
    match (status.job, status.in_progress, status.cursor, status.table_version) {
        (Some(_), ..) => "job under way",
        (None, true, ..) => "unfinished",
        (None, false, _, None) => "no rows yet",
        (None, false, None, Some(_)) => "not materialized",
        (None, false, Some(_), Some(_)) if status.fresh == Some(false) => "late",
        (None, false, Some(cursor), Some(table)) if is_behind(status, cursor, table) => "behind",
        (None, false, Some(_), Some(_)) => "up to date",
    }
}

/// A version that only rewrote files, as a compaction does, puts nobody behind.
fn is_behind(status: &ViewStatus, cursor: i64, table: i64) -> bool {
    status.versions_behind.map_or(cursor < table, |versions| versions > 0)
}

fn to_json(status: &ViewStatus) -> Value {
    let seconds = |micros: i64| micros as f64 / 1e6;
    json!({
        "view": status.view,
        "state": state(status),
        "cursor": status.cursor,
        "table_version": status.table_version,
        "versions_behind": status.versions_behind,
        "seconds_behind": status.behind.map(seconds),
        "freshness_seconds": status.freshness.map(seconds),
        "fresh": status.fresh,
        "schedule": status.schedule,
        "job": status.job,
        "materialized_at": status.materialized_at.map(values::instant),
        "epoch": status.epoch,
        "in_progress": status.in_progress,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(cursor: Option<i64>, table_version: Option<i64>, versions_behind: Option<u64>) -> ViewStatus {
        ViewStatus {
            view: "v".into(),
            cursor,
            table_version,
            materialized_at: None,
            epoch: 0,
            in_progress: false,
            versions_behind,
            behind: Some(90_000_000),
            freshness: None,
            fresh: None,
            schedule: String::new(),
            job: None,
        }
    }

    #[test]
    fn states_tell_what_to_do() {
        assert_eq!(state(&view(None, None, None)), "no rows yet");
        assert_eq!(state(&view(None, Some(0), Some(0))), "not materialized");
        assert_eq!(state(&view(Some(0), Some(2), Some(2))), "behind");
        assert_eq!(state(&view(Some(0), Some(2), None)), "behind");
        assert_eq!(state(&view(Some(1), Some(2), Some(0))), "up to date");
        assert_eq!(state(&view(Some(2), Some(2), Some(0))), "up to date");
        assert_eq!(state(&ViewStatus { in_progress: true, ..view(Some(1), Some(2), Some(1)) }), "unfinished");
        assert_eq!(
            state(&ViewStatus { job: Some(3), in_progress: true, ..view(Some(1), Some(2), None) }),
            "job under way"
        );
        assert_eq!(state(&ViewStatus { fresh: Some(false), ..view(Some(0), Some(2), Some(2)) }), "late");
    }

    #[test]
    fn how_far_behind_is_told_in_time_and_versions() {
        assert_eq!(behind(&view(Some(0), Some(2), Some(2))), "1m30s (2 versions)");
        assert_eq!(behind(&view(Some(1), Some(2), Some(1))), "1m30s (1 version)");
        assert_eq!(behind(&view(Some(2), Some(2), Some(0))), "0s");
        assert_eq!(behind(&view(None, None, None)), "unknown");
    }
}
