//! How a table lies on disk, as far as its log tells: what statistics can spare a reader.

use datafusion::common::ScalarValue;

use super::snapshot::Snapshot;

/// How a table lies.
#[derive(Debug, Clone, PartialEq)]
pub struct TableStats {
    /// The version looked at.
    pub version: i64,
    /// Live files.
    pub files: u64,
    /// Files that a compaction wrote.
    pub files_compacted: u64,
    /// Groups of files written together.
    pub runs: u64,
    /// Rows, deleted ones left out, as far as the log says.
    pub rows: u64,
    /// Bytes of the live files.
    pub bytes: u64,
    /// Rows that deletion vectors removed.
    pub rows_deleted: u64,
    /// For each column asked for, how its values spread over files.
    pub overlaps: Vec<Overlap>,
}

/// How the values of a column spread over files.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlap {
    /// The column.
    pub column: String,
    /// The mean over all files of how many files share values with one; 1 when no two do.
    pub files: f64,
    /// Files without statistics of the column, which no reader can skip.
    pub files_unknown: u64,
}

impl Snapshot {
    /// How this version lies, with the overlap of some columns. Reads nothing but what the snapshot holds.
    #[must_use]
    pub fn stats(&self, columns: &[String]) -> TableStats {
        let deleted = |rows: &std::sync::Arc<[u64]>| rows.len() as u64;
        let mut versions: Vec<i64> = self.files.iter().map(|file| file.added_version).collect();
        versions.dedup();
        let rows_deleted = self.files.iter().filter_map(|file| file.deleted_rows.as_ref()).map(deleted).sum();
        TableStats {
            version: self.version,
            files: self.files.len() as u64,
            files_compacted: self.files.iter().filter(|file| file.compacted).count() as u64,
            runs: versions.len() as u64,
            rows: self.files.iter().filter_map(|file| file.rows).sum::<u64>().saturating_sub(rows_deleted),
            bytes: self.files.iter().map(|file| file.size).sum(),
            rows_deleted,
            overlaps: columns.iter().map(|column| self.overlap(column)).collect(),
        }
    }

    fn overlap(&self, column: &str) -> Overlap {
        let ranges: Vec<&(ScalarValue, ScalarValue)> =
            self.files.iter().filter_map(|file| file.ranges.get(column)).collect();
        let (mut lows, mut highs): (Vec<_>, Vec<_>) = ranges.iter().map(|(low, high)| (low, high)).unzip();
        let by_value = |a: &&ScalarValue, b: &&ScalarValue| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
        lows.sort_by(by_value);
        highs.sort_by(by_value);
        // Those that begin before it ends, without those that end before it begins.
        let shared = |(low, high): &(ScalarValue, ScalarValue)| {
            lows.partition_point(|other| *other <= high) - highs.partition_point(|other| *other < low)
        };
        let unknown = self.files.len() - ranges.len();
        let all = ranges.iter().map(|range| shared(range)).sum::<usize>() + unknown * self.files.len();
        let files = all as f64 / self.files.len().max(1) as f64 + if ranges.is_empty() { 0.0 } else { unknown as f64 };
        Overlap { column: column.to_owned(), files: files.min(self.files.len() as f64), files_unknown: unknown as u64 }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use crate::fixtures::{append, runtime, table, weather, weather_rules};

    #[tokio::test]
    async fn overlap_is_how_many_files_share_values() {
        let folder = tempdir().unwrap();
        let (runtime, rules) = (runtime(folder.path()), weather_rules());
        let table = table(&folder.path().join("weather"), &rules).await.unwrap();
        for (id, rows) in [("a", [("A", 1, 0.0), ("C", 2, 0.0)]), ("b", [("B", 3, 0.0), ("D", 4, 0.0)])] {
            append(&table, &runtime, &rules, id, vec![weather(&rows)]).await.unwrap();
        }
        let stats =
            table.snapshot(None).await.unwrap().stats(&["origin".to_owned(), "at".to_owned(), "temp".to_owned()]);
        let overlaps: Vec<(f64, u64)> = stats.overlaps.iter().map(|it| (it.files, it.files_unknown)).collect();
        assert_eq!(
            overlaps,
            [(2.0, 0), (1.0, 0), (2.0, 2)],
            "keys overlap, times don't, temperatures have no statistics"
        );
        assert_eq!((stats.files, stats.runs, stats.rows, stats.rows_deleted, stats.files_compacted), (2, 2, 4, 0, 0));
    }
}
