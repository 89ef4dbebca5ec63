//! `tidegate restore`: a backup becomes a data folder, or is only checked.

use std::path::PathBuf;

use super::Error;
use super::args::{Settings, print};
use crate::backup::{self, Manifest};

/// Files between two lines that tell how far it is.
const TOLD_EVERY: u64 = 1000;

pub(super) fn run(folder: PathBuf, check: bool, settings: Settings) -> Result<(), Error> {
    let config = settings.layers()?.config()?;
    let so_far = std::cell::Cell::new((0_u64, 0_u64));
    let told = |bytes: u64| {
        let (files, before) = so_far.get();
        so_far.set((files + 1, before + bytes));
        if (files + 1).is_multiple_of(TOLD_EVERY) {
            print(&format!("{} files, {} MiB\n", files + 1, (before + bytes) >> 20));
        }
    };
    if check {
        let manifest = backup::check(&folder, &told)?;
        print(&format!("{} is whole\n{}", folder.display(), contents(&manifest)));
        return Ok(());
    }
    let instance = uuid::Uuid::new_v4().simple().to_string();
    let restored = backup::restore(&folder, &config.server.data_dir, &instance, &told)?;
    let place = restored.data_dir.display();
    let manifest = &restored.manifest;
    print(&format!("restored into {place}\n{}", contents(manifest)));
    if !manifest.with_tables {
        print(&format!(
            "managed tables were left out of the backup: put them into {place}/tables before you start the server\n"
        ));
    }
    print(&format!("start it with: tidegate serve --data-dir {place}\n"));
    Ok(())
}

/// What a backup holds, a line each.
fn contents(manifest: &Manifest) -> String {
    let at = chrono::DateTime::from_timestamp_micros(manifest.created_at);
    let at = at.map_or_else(|| manifest.created_at.to_string(), |at| at.to_rfc3339());
    let (files, mib) = (manifest.files.len(), manifest.bytes() >> 20);
    let mut text = format!("  made at {at} by tidegate {}, {files} files, {mib} MiB\n", manifest.engine);
    for view in &manifest.views {
        text.push_str(&format!("  view {}/{} at version {}\n", view.project, view.view, view.version));
    }
    for table in &manifest.tables {
        text.push_str(&format!("  table {}/{} at version {}\n", table.project, table.source, table.version));
    }
    for outside in &manifest.outside {
        text.push_str(&format!("  not in it: table {outside}\n"));
    }
    text
}
