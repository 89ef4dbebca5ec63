//! Arrow IPC, file or stream, with its own types.

use std::io::{BufReader, Read, Seek};
use std::sync::Arc;

use arrow::ipc::reader::{FileReader, StreamReader};
use indicatif::ProgressBar;

use super::{Input, Rows};
use crate::failure::Result;

/// What an IPC file starts with; a stream starts otherwise.
const FILE_MAGIC: &[u8] = b"ARROW1";

pub(super) fn open(input: &Arc<Input>, bar: &ProgressBar) -> Result<Rows> {
    let mut file = input.open()?;
    let mut magic = [0; FILE_MAGIC.len()];
    let is_file = file.read_exact(&mut magic).is_ok() && magic == FILE_MAGIC;
    file.rewind().map_err(|error| input.failed("reading failed", error))?;
    let reader = BufReader::with_capacity(1 << 20, bar.wrap_read(file));
    let failed = {
        let input = input.clone();
        move |error| input.failed("it is damaged, or no Arrow IPC", error)
    };
    if is_file {
        let reader = FileReader::try_new(reader, None).map_err(&failed)?;
        return Ok(Rows {
            schema: reader.schema(),
            batches: Box::new(reader.map(move |batch| batch.map_err(&failed))),
        });
    }
    let reader = StreamReader::try_new(reader, None).map_err(&failed)?;
    Ok(Rows { schema: reader.schema(), batches: Box::new(reader.map(move |batch| batch.map_err(&failed))) })
}
