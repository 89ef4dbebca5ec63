//! Stored metadata of windowed views. Frozen by golden tests.
//!
//! ```text
//! key in `default`        value: format u8 = 1, then
//! 'w' layout u32 BE       count u32 · for each feature: function u8 · parameter u32 · input u8 (0 none) [· column · type]
//!                         · window i64 (0 all) · hop i64
//! 'x' view u32 BE         layout u32 of the present epoch's tiles · layout u32 of those being built (0 none)
//! ```
//! The functions' numbers are given once and never used for another.

use tidegate_schemas::definition::{Aggregate, Column, Function};

use super::TileLayouts;
use crate::codec::{Reader, put_length, put_text};
use crate::{Error, Result};

const FORMAT: u8 = 1;

pub(crate) fn encode_aggregates(aggregates: &[Aggregate]) -> Vec<u8> {
    let mut out = vec![FORMAT];
    put_length(&mut out, aggregates.len());
    for Aggregate { function, input, window, hop } in aggregates {
        let (number, parameter) = number_of(*function);
        out.push(number);
        out.extend_from_slice(&parameter.to_le_bytes());
        out.push(u8::from(input.is_some()));
        if let Some(input) = input {
            put_text(&mut out, &input.name);
            put_text(&mut out, &input.data_type.to_string());
        }
        out.extend_from_slice(&window.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&hop.to_le_bytes());
    }
    out
}

pub(crate) fn decode_aggregates(bytes: &[u8]) -> Result<Vec<Aggregate>> {
    let mut reader = record(bytes, "the aggregates of a layout")?;
    let count = reader.u32()?;
    let aggregates = (0..count).map(|_| aggregate(&mut reader)).collect::<Result<_>>()?;
    reader.end()?;
    Ok(aggregates)
}

fn aggregate(reader: &mut Reader<'_>) -> Result<Aggregate> {
    let (number, parameter) = (reader.u8()?, reader.u32()?);
    let function = function_of(number, parameter).ok_or_else(|| {
        Error::corrupt(format!("the metadata names a function {number} that this release does not know"))
    })?;
    let input = match reader.u8()? {
        0 => None,
        _ => {
            let (name, data_type) = (reader.text()?, reader.text()?);
            let data_type = data_type.parse().map_err(|_| {
                Error::corrupt(format!("the metadata names a type `{data_type}` that this release does not know"))
            })?;
            Some(Column { name, data_type })
        }
    };
    let (window, hop) = (reader.i64()?, reader.i64()?);
    if hop <= 0 || window < 0 {
        return Err(Error::corrupt(format!("the metadata has a window of {window} by {hop}")));
    }
    Ok(Aggregate { function, input, window: Some(window).filter(|window| *window != 0), hop })
}

fn number_of(function: Function) -> (u8, u32) {
    match function {
        Function::Count => (1, 0),
        Function::Sum => (2, 0),
        Function::Mean => (3, 0),
        Function::Min => (4, 0),
        Function::Max => (5, 0),
        Function::Var => (6, 0),
        Function::Std => (7, 0),
        Function::First => (8, 0),
        Function::Last => (9, 0),
        Function::LastN(most) => (10, most),
        Function::DistinctCount => (11, 0),
        Function::Percentile(share) => (12, share),
        Function::TopK(most) => (13, most),
    }
}

fn function_of(number: u8, parameter: u32) -> Option<Function> {
    Some(match number {
        1 => Function::Count,
        2 => Function::Sum,
        3 => Function::Mean,
        4 => Function::Min,
        5 => Function::Max,
        6 => Function::Var,
        7 => Function::Std,
        8 => Function::First,
        9 => Function::Last,
        10 => Function::LastN(parameter),
        11 => Function::DistinctCount,
        12 => Function::Percentile(parameter),
        13 => Function::TopK(parameter),
        _ => return None,
    })
}

impl TileLayouts {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        out.extend_from_slice(&self.present.to_le_bytes());
        out.extend_from_slice(&self.building.unwrap_or(0).to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = record(bytes, "the layouts of a view's tiles")?;
        let layouts = Self { present: reader.u32()?, building: Some(reader.u32()?).filter(|layout| *layout != 0) };
        reader.end()?;
        Ok(layouts)
    }
}

fn record<'a>(bytes: &'a [u8], what: &'static str) -> Result<Reader<'a>> {
    let mut reader = Reader::new(bytes, what);
    match reader.u8()? {
        FORMAT => Ok(reader),
        format => Err(Error::corrupt(format!("{what} has format {format}, expected {FORMAT}"))),
    }
}
