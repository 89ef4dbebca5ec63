//! The columns of a source have one type, whoever names them: its times, the keys and features of its views, its own list.

use std::collections::BTreeMap;

use crate::definition::{Feature, Kind};
use crate::file::yaml::Step::{Field, Index};
use crate::types::DataType;

use super::Resolver;

/// Who said first what a column is.
struct Said {
    data_type: DataType,
    by: String,
}

type Columns = BTreeMap<(String, String), Said>;

impl Resolver<'_> {
    pub(super) fn columns(&mut self) {
        let mut columns = Columns::new();
        for source in self.catalog.sources.values() {
            let mut time = |column: &str, what: &str| {
                let said = Said { data_type: DataType::Timestamp, by: format!("as its {what}") };
                columns.insert((source.name.clone(), column.to_owned()), said);
            };
            time(&source.event_time, "event time");
            source.valid_to.iter().for_each(|end| time(end, "end of validity"));
            source.created_time.iter().for_each(|created| time(created, "created time"));
        }
        self.view_columns(&mut columns);
        let items = self.items;
        for item in &items.sources {
            let Some(source) = self.catalog.sources.get(&item.value.name).cloned() else { continue };
            for (index, column) in source.columns.iter().enumerate() {
                let key = (source.name.clone(), column.name.clone());
                if let Some(message) = disagreement(&mut columns, key, &column.data_type, item.site()) {
                    self.report(item, &[Field("columns"), Index(index), Field("type")], message, None);
                }
            }
        }
        self.event_ids(&columns);
    }

    /// What tells events apart has one encoding, and its type is known although no feature need read it.
    fn event_ids(&mut self, columns: &Columns) {
        let items = self.items;
        for item in &items.sources {
            let Some(source) = self.catalog.sources.get(&item.value.name).cloned() else { continue };
            let Some(column) = &source.event_id else { continue };
            match columns.get(&(source.name.clone(), column.clone())).map(|said| &said.data_type) {
                Some(DataType::String | DataType::Int64 | DataType::Bytes) => {}
                Some(other) => {
                    let message = format!("column `{column}` is {other}, which can't tell events apart");
                    let help = "an event id is string, int64 or bytes".to_owned();
                    self.report(item, &[Field("event_id")], message, Some(help));
                }
                None if self.items.incomplete => {}
                None => {
                    let message = format!("nothing says the type of column `{column}`");
                    let help = format!("declare it under the source's `columns`: `{{name: {column}, type: string}}`");
                    self.report(item, &[Field("event_id")], message, Some(help));
                }
            }
        }
    }

    fn view_columns(&mut self, columns: &mut Columns) {
        let items = self.items;
        for item in &items.views {
            let Some(view) = self.catalog.views.get(&item.value.name).cloned() else { continue };
            let before = self.reported;
            let by = || format!("in {} `{}` ({})", Kind::FeatureView.label(), view.name, item.site());
            for key in self.catalog.keys(&view) {
                let column = view.key_columns.get(&key.name).unwrap_or(&key.name).clone();
                let said = disagreement(columns, (view.source.clone(), column), &key.data_type, by());
                if let Some(message) = said {
                    let mapped = [Field("key_columns"), Field(key.name.as_str())];
                    let path =
                        if view.key_columns.contains_key(&key.name) { &mapped[..] } else { &[Field("entities")] };
                    self.report(item, path, format!("key `{}`: {message}", key.name), None);
                }
            }
            let plain = |(_, feature): &(usize, &Feature)| feature.aggregate.is_none();
            for (index, feature) in view.features.iter().enumerate().filter(plain) {
                let column = (view.source.clone(), feature.column.clone());
                if let Some(message) = disagreement(columns, column, &feature.data_type, by()) {
                    self.report(item, &[Field("features"), Index(index), Field("type")], message, None);
                }
            }
            if self.reported > before {
                self.catalog.views.remove(&view.name);
            }
        }
    }
}

/// Notes what is said of a column; a message when someone said otherwise before.
fn disagreement(columns: &mut Columns, key: (String, String), data_type: &DataType, by: String) -> Option<String> {
    let (source, column) = (key.0.clone(), key.1.clone());
    let said = columns.entry(key).or_insert_with(|| Said { data_type: data_type.clone(), by });
    (said.data_type != *data_type).then(|| {
        format!("column `{column}` of source `{source}` is {data_type} here and {} {}", said.data_type, said.by)
    })
}
