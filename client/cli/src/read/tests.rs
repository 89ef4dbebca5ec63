//! Files become typed batches, and what is wrong in them is named with its place.

use super::*;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, TimeUnit};

fn wanted(others: Others) -> Wanted {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let types = [("origin", DataType::Utf8), ("at", time), ("temp", DataType::Float64)];
    Wanted {
        types: types.into_iter().map(|(name, of)| (name.to_owned(), of)).collect(),
        others,
        rounding: Rounding::Up,
        nulls: vec!["NA".into()],
    }
}

fn read(name: &str, content: &[u8], wanted: &Wanted) -> Result<Vec<RecordBatch>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    let input = Arc::new(Input::new(&path, None)?);
    open(&input, wanted, &ProgressBar::hidden())?.batches.collect()
}

#[test]
fn csv_is_typed_by_what_is_wanted() {
    let text = b"at,temp,origin\n2013-01-01T05:00:00Z,1.5,EWR\n2013-01-01 06:00:00,NA,\n";
    let got = read("w.csv", text, &wanted(Others::Refuse)).unwrap();
    let batch = &got[0];
    assert_eq!(batch.num_rows(), 2);
    assert_eq!(batch.schema().field(0).name(), "at");
    let temp = batch.column_by_name("temp").unwrap().as_primitive::<Float64Type>();
    assert!(temp.value(0) == 1.5 && temp.is_null(1));
    assert!(batch.column_by_name("origin").unwrap().is_null(1), "an empty field is null");
}

#[test]
fn a_bad_csv_value_is_named_with_file_line_column_and_value() {
    let text = b"origin,at,temp\n\"E\nWR\",2013-01-01,1\n\nJFK,2013-01-01,hot\n";
    let failure = read("w.csv", text, &wanted(Others::Refuse)).unwrap_err().to_string();
    assert!(failure.ends_with("w.csv:5: column 3 `temp`: `hot` is no float64"), "{failure}");
    let late: String =
        (0..20_000).map(|row| format!("EWR,2013-01-01,{row}\n")).chain(["EWR,x,1\n".to_owned()]).collect();
    let failure = read("w.csv", format!("origin,at,temp\n{late}").as_bytes(), &wanted(Others::Refuse)).unwrap_err();
    assert!(failure.to_string().ends_with("w.csv:20002: column 2 `at`: `x` is no timestamp"), "{failure}");
}

#[test]
fn csv_that_is_none_is_refused() {
    let check = |content: &[u8], expect: &str| {
        let failure = read("w.csv", content, &wanted(Others::Refuse)).unwrap_err();
        let text = crate::output::render(&failure);
        assert!(text.contains(expect), "{text}");
    };
    check(b"", "is empty");
    check(b"origin,at\nEWR\n", "can't be read");
    check(b"origin,at\nE\xffWR,2013-01-01\n", "UTF-8");
    check(b"origin,origin\nEWR,EWR\n", "two columns are named `origin`");
}

#[test]
fn other_columns_are_kept_as_text_left_out_or_typed() {
    let text = b"origin,at,n\nEWR,2013-01-01,7\n";
    let n = |others| {
        read("w.csv", text, &wanted(others)).unwrap()[0]
            .schema()
            .field_with_name("n")
            .ok()
            .map(|it| it.data_type().clone())
    };
    assert_eq!(n(Others::Refuse), Some(DataType::Utf8));
    assert_eq!(n(Others::Ignore), None);
    assert_eq!(n(Others::Infer), Some(DataType::Int64));
}

#[test]
fn ndjson_is_typed_and_its_lines_are_named() {
    let good = b"{\"origin\":\"EWR\",\"at\":\"2013-01-01T05:00:00Z\",\"temp\":1}\n\n{\"temp\":null}\n";
    let got = read("w.ndjson", good, &wanted(Others::Refuse)).unwrap();
    assert_eq!(got[0].num_rows(), 2);
    assert!(got[0].column_by_name("at").unwrap().is_null(1));
    let check = |content: &str, expect: &str| {
        let failure = read("w.ndjson", content.as_bytes(), &wanted(Others::Refuse)).unwrap_err().to_string();
        assert!(failure.contains(expect), "{failure}");
    };
    check("{\"temp\":1}\n{\"temp\":\"hot\"}\n", "w.ndjson:2:");
    check("{\"temp\":1}\n\n{\"temp\":\n", "w.ndjson:3:");
    check("{\"temp\":1}\n{\"at\":\"noon\"}\n", "w.ndjson:2: `at`: `noon` is no timestamp");
    check("{\"extra\":1}\n", "w.ndjson:1:");
    check("{\"temp\":1} {\"temp\":2}\n", "w.ndjson:1:");
    assert!(read("w.ndjson", b"{\"extra\":1}\n", &wanted(Others::Ignore)).is_ok());
}

#[test]
fn parquet_and_both_kinds_of_arrow_come_back_as_written() {
    let batch = read("w.csv", b"origin,at,temp\nEWR,2013-01-01,1\n", &wanted(Others::Refuse)).unwrap().remove(0);
    for (name, format) in [("w.parquet", crate::write::Format::Parquet), ("w.arrow", crate::write::Format::Arrow)] {
        let mut writer = crate::write::Writer::new(Vec::new(), format, &batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.finish().unwrap();
        assert_eq!(read(name, &bytes, &wanted(Others::Refuse)).unwrap(), std::slice::from_ref(&batch), "{name}");
        let damaged = read(name, &bytes[..bytes.len() / 2], &wanted(Others::Refuse));
        assert!(damaged.is_err(), "half a file is no file: {name}");
    }
    let mut stream = Vec::new();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut stream, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    assert_eq!(read("w.arrows", &stream, &wanted(Others::Refuse)).unwrap(), [batch]);
}

#[test]
fn files_of_one_call_must_have_the_same_columns() {
    let folder = tempfile::tempdir().unwrap();
    let check = |second: &str| {
        let contents = [("a.csv", "origin,temp\nEWR,1\n"), ("b.csv", second)];
        let inputs = contents.map(|(name, content)| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            Arc::new(Input::new(&path, None).unwrap())
        });
        let rows = open_all(inputs.to_vec(), wanted(Others::Refuse), ProgressBar::hidden())?;
        rows.batches.collect::<Result<Vec<_>>>()
    };
    assert_eq!(check("temp,origin\n2,JFK\n").unwrap().len(), 2);
    assert!(check("origin\nJFK\n").unwrap_err().to_string().contains("lacks the column `temp`"));
    assert!(check("origin,temp,x\nJFK,1,2\n").unwrap_err().to_string().contains("a column `x`"));
}

#[test]
fn the_same_content_has_the_same_id() {
    let folder = tempfile::tempdir().unwrap();
    let input = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Arc::new(Input::new(&path, None).unwrap())
    };
    let (a, b) = (input("a.csv", "x\n1\n"), input("b.csv", "x\n2\n"));
    let same = input("c.csv", "x\n1\n");
    let id = |inputs: &[&Arc<Input>]| content_id(&inputs.iter().map(|it| (*it).clone()).collect::<Vec<_>>()).unwrap();
    assert_eq!(id(&[&a]), id(&[&same]));
    assert_ne!(id(&[&a]), id(&[&b]));
    assert_ne!(id(&[&a, &b]), id(&[&b, &a]));
}

#[tokio::test]
async fn a_reader_that_dies_is_an_error_and_not_an_early_end() {
    use futures::StreamExt;
    let dies = std::iter::from_fn(|| -> Option<Result<RecordBatch>> { panic!("a defect") });
    let rows = Rows { schema: Arc::new(Schema::empty()), batches: Box::new(dies) };
    let got: Vec<_> = stream(rows).collect().await;
    assert!(matches!(got.as_slice(), [Err(_)]));
}

#[test]
fn standard_input_needs_a_format_and_names_tell_theirs() {
    assert!(Input::new(Path::new("-"), None).unwrap_err().help.unwrap().contains("--format"));
    assert!(Input::new(Path::new("rows.txt"), None).unwrap_err().help.unwrap().contains("--format"));
    for (name, format) in [("a.PARQUET", Format::Parquet), ("b.jsonl", Format::Ndjson), ("c.feather", Format::Arrow)] {
        assert_eq!(Format::of_path(Path::new(name)), Some(format));
    }
}

#[test]
fn numbers_that_do_not_fit_are_refused_in_every_format() {
    let mut wanted = wanted(Others::Refuse);
    wanted.types.extend([
        ("id".to_owned(), DataType::Int64),
        ("price".to_owned(), DataType::Decimal128(6, 2)),
        ("share".to_owned(), DataType::Float32),
    ]);
    let check = |name: &str, content: &str, expect: &str| match (read(name, content.as_bytes(), &wanted), expect) {
        (Ok(_), "") => {}
        (Ok(_), _) => panic!("{content:?} was read"),
        (Err(failure), "") => panic!("{content:?}: {failure}"),
        (Err(failure), expect) => assert!(failure.to_string().contains(expect), "{content:?}: {failure}"),
    };
    check("w.ndjson", "{\"id\":3}\n{\"id\":3.9}\n", "w.ndjson:2: `id`: `3.9` is no int64");
    check("w.ndjson", "{\"id\":3}\n{\"id\":4.0}\n", "");
    check("w.ndjson", "{\"price\":1.25}\n{\"price\":1.239}\n", "w.ndjson:2: `price`: `1.239` is no decimal(6,2)");
    check("w.ndjson", "{\"share\":1e60}\n", "w.ndjson:1: `share`");
    check("w.csv", "id\n3\n3.9\n", "`3.9` is no int64");
    check("w.csv", "price\n1.250\n1.239\n", "`1.239` is no decimal(6,2)");
    check("w.csv", "share\n0.1\n1e60\n", "`1e60` is no float32");
    check("w.csv", "share\n0.1\ninf\n", "");
}
