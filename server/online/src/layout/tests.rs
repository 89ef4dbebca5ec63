//! The frozen bytes of metadata.

use super::*;

/// What to do when frozen bytes differ.
const FROZEN: &str = "the bytes of metadata are frozen: folders in use have them. Undo the change, or give records a new format \
                      number that is read beside this one, and add new samples beside these";

fn check(bytes: &[u8], expect: &str) {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expect.replace(' ', ""), "{FROZEN}");
}

#[test]
fn keys_are_frozen() {
    let samples = [
        (MetaKey::Counters, "63"),
        (MetaKey::EntityType(1), "65 00000001"),
        (MetaKey::View(258), "76 00000102"),
        (MetaKey::Layout(3), "6c 00000003"),
        (MetaKey::Cursor(4), "6b 00000004"),
        (MetaKey::Progress(5), "70 00000005"),
        (MetaKey::Pushed(5), "71 00000005"),
        (MetaKey::Table(5), "62 00000005"),
        (MetaKey::Numbers(7), "6e 00000007"),
        (MetaKey::Retained(8), "74 00000008"),
        (MetaKey::Purge(6, ALL_EPOCHS), "64 00000006 ffffffff"),
        (MetaKey::Aggregates(3), "77 00000003"),
        (MetaKey::Tiles(7), "78 00000007"),
        (MetaKey::Feed(7), "66 00000007"),
        (MetaKey::Incarnations, "69"),
        (MetaKey::Sequence, "73"),
    ];
    for (key, expect) in samples {
        check(&key.encode(), expect);
        assert_eq!(MetaKey::decode(&key.encode()).expect("a key"), key);
    }
    for bytes in [b"".as_slice(), b"c\0", b"e\0\0\0", b"y", b"d\0\0\0\x01"] {
        assert!(MetaKey::decode(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn records_are_frozen() {
    let counters = Counters { entity_type: 1, view: 2, layout: 3 };
    check(&counters.encode(), "01 01000000 02000000 03000000");
    assert_eq!(Counters::decode(&counters.encode()).expect("counters"), counters);

    let entity_type = EntityTypeRecord {
        project: "p".to_owned(),
        entities: vec!["user".to_owned()],
        key_types: vec![DataType::Int64],
    };
    check(&entity_type.encode(), "01 01000000 70 01000000 04000000 75736572 01000000 05000000 696e743634");
    assert_eq!(EntityTypeRecord::decode(&entity_type.encode()).expect("an entity type"), entity_type);

    let view = ViewRecord {
        project: "p".to_owned(),
        name: "v".to_owned(),
        entity_type: 1,
        key_names: vec!["id".to_owned()],
        layout: 2,
        epoch: 3,
        building: Some(4),
        next_epoch: 5,
    };
    check(
        &view.encode(),
        "01 01000000 70 01000000 76 01000000 01000000 02000000 6964 02000000 03000000 04000000 05000000",
    );
    assert_eq!(ViewRecord::decode(&view.encode()).expect("a view"), view);

    let features = vec![Column { name: "f".to_owned(), data_type: DataType::Bool }];
    let layout = LayoutRecord { view: 1, features };
    check(&layout.encode(), "01 01000000 01000000 01000000 66 04000000 626f6f6c");
    assert_eq!(LayoutRecord::decode(&layout.encode()).expect("a layout"), layout);

    let cursor = CursorRecord { version: 1, materialized_at: -1, layout: 2 };
    check(&cursor.encode(), "01 0100000000000000 ffffffffffffffff 02000000");
    assert_eq!(CursorRecord::decode(&cursor.encode()).expect("a cursor"), cursor);

    let progress =
        Progress { target_version: 1, full: true, position: 2, rows_read: 3, rows_written: 4, started_at: 5 };
    check(
        &encode_progress(&progress),
        "01 01 0100000000000000 0200000000000000 0300000000000000 0400000000000000 0500000000000000",
    );
    assert_eq!(decode_progress(&encode_progress(&progress)).expect("a progress"), progress);

    let purge = Purge { view: 1, epoch: 2, entity_type: 3 };
    check(&purge.encode(), "01 03000000");
    assert_eq!(Purge::decode(1, 2, &purge.encode()).expect("a purge"), purge);
}

/// Cut, lengthened or of another format: an error, never a panic.
#[test]
fn damaged_records_are_refused() {
    let entity_type =
        EntityTypeRecord { project: "p".into(), entities: vec!["e".into()], key_types: vec![DataType::Date] };
    let good = entity_type.encode();
    for end in 0..good.len() {
        assert!(EntityTypeRecord::decode(&good[..end]).is_err(), "cut at {end}");
    }
    assert!(EntityTypeRecord::decode(&[good.as_slice(), &[0]].concat()).is_err(), "too long");
    assert!(EntityTypeRecord::decode(&[&[2], &good[1..]].concat()).is_err(), "another format");
    let huge = [&[1_u8][..], &u32::MAX.to_le_bytes()].concat();
    assert!(LayoutRecord::decode(&[&huge[..], &u32::MAX.to_le_bytes()].concat()).is_err(), "a count beyond the bytes");
}
