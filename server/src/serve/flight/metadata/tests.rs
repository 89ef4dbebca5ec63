use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, UInt32Type};

use super::*;

#[test]
fn sql_info_answers_what_is_asked() {
    let all = sql_info(&[]).unwrap();
    assert!(all.num_rows() > 20);
    let name = sql_info(&[SqlInfo::FlightSqlServerName as u32]).unwrap();
    assert_eq!(name.column(0).as_primitive::<UInt32Type>().values(), &[0]);
    assert_eq!(name.schema(), all.schema());
    assert_eq!(sql_info(&[99_999]).unwrap().num_rows(), 0);
}

#[test]
fn types_come_in_order_and_can_be_filtered() {
    let all = xdbc_types(None).unwrap();
    let numbers = all.column_by_name("data_type").unwrap().as_primitive::<Int32Type>().values().to_vec();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert_eq!(xdbc_types(Some(XdbcDataType::XdbcVarchar as i32)).unwrap().num_rows(), 1);
    assert_eq!(xdbc_types(Some(12_345)).unwrap().num_rows(), 0);
}

#[test]
fn table_types_are_the_two() {
    let types = table_types(CommandGetTableTypes {}).unwrap();
    assert_eq!(types.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), TABLE_TYPES);
}
