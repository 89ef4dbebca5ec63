//! Values of chosen rows of one flat column chunk, from its pages.
//!
//! The Arrow reader decodes whole pages; the join wants a few rows of each. Here a page without a wanted row is not even
//! decompressed, a dictionary is converted once instead of per row, and a packed value is found by its bit ([`hybrid`]).
//! Parquet's own reader finds and checks the pages, [`codec`] undoes their compression. [`delta`] is the one encoding that must be read from a
//! page's start.
//!
//! Order: [`Chunk`] walks pages → `Page` knows which of its values the wanted rows are → `values` of a type are
//! converted and appended. Nested columns and rare encodings are not read here ([`Chunk::open`] says so); who asks falls
//! back to the Arrow reader.

mod codec;
mod delta;
mod hybrid;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{BooleanBufferBuilder, NullBufferBuilder};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page as RawPage, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::ChunkReader;
use parquet::file::serialized_reader::SerializedPageReader;

use codec::Codec;
use hybrid::Runs;

use super::ranks::Ranks;

/// A dictionary is converted value by value where fewer than one in so many of its values can be wanted.
const SPARSE: usize = 2;

/// Rows skipped per row kept above which a list of runs is cheaper than a bit per row.
const BITS_PER_RUN: usize = 64;

/// Rows of a row group, ascending and distinct.
#[derive(Debug, Clone)]
pub(super) enum Rows<'a> {
    All(Range<usize>),
    Some(&'a [u32]),
}

impl<'a> Rows<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::All(range) => range.len(),
            Self::Some(rows) => rows.len(),
        }
    }

    fn last(&self) -> Option<usize> {
        match self {
            Self::All(range) => range.end.checked_sub(1).filter(|last| *last >= range.start),
            Self::Some(rows) => rows.last().map(|row| *row as usize),
        }
    }

    /// The rows as the Arrow reader takes them, of a row group of `length` rows; `None` for all of it.
    pub(super) fn selection(&self, length: usize) -> Option<RowSelection> {
        let wanted = match self {
            Self::All(range) if range.len() == length => return None,
            Self::All(range) => {
                return Some(RowSelection::from_consecutive_ranges(std::iter::once(range.clone()), length));
            }
            Self::Some(rows) => rows,
        };
        if wanted.len().saturating_mul(BITS_PER_RUN) > length {
            let mut mask = BooleanBufferBuilder::new(length);
            mask.append_n(length, false);
            wanted.iter().for_each(|row| mask.set_bit(*row as usize, true));
            return Some(RowSelection::from_boolean_buffer(mask.finish()));
        }
        let (mut runs, mut next) = (Vec::with_capacity(wanted.len() * 2 + 1), 0);
        for row in wanted.iter().map(|row| *row as usize) {
            runs.push(RowSelector::skip(row - next));
            runs.push(RowSelector::select(1));
            next = row + 1;
        }
        runs.push(RowSelector::skip(length - next));
        Some(RowSelection::from(runs))
    }

    /// Those of them that are in `page`, where there are any; `passed` of a list are before it.
    fn within(&self, page: &Range<usize>, passed: usize) -> Option<Rows<'a>> {
        match self {
            Self::All(range) => {
                let part = range.start.max(page.start)..range.end.min(page.end);
                (!part.is_empty()).then_some(Rows::All(part))
            }
            Self::Some(rows) => {
                let left = &rows[passed..];
                let here = &left[..left.len().min(page.len())];
                let here = &here[..here.partition_point(|row| (*row as usize) < page.end)];
                (!here.is_empty()).then_some(Rows::Some(here))
            }
        }
    }
}

/// Values that were read, one for each row asked for.
#[derive(Debug)]
pub(super) struct Values<T> {
    pub(super) values: Vec<T>,
    pub(super) nulls: NullBufferBuilder,
}

impl<T> Values<T> {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self { values: Vec::with_capacity(rows), nulls: NullBufferBuilder::new(rows) }
    }
}

/// Text or bytes that were read, one after the other.
#[derive(Debug)]
pub(super) struct Spans {
    pub(super) data: Vec<u8>,
    /// Where each value ends; nulls are empty.
    pub(super) ends: Vec<usize>,
    pub(super) nulls: NullBufferBuilder,
}

/// A number as Parquet stores it.
pub(super) trait Plain: Copy {
    const BYTES: usize;
    /// Reads one from its bytes, of which there are [`Self::BYTES`].
    fn read(bytes: &[u8]) -> Self;
    /// What a packed difference stands for; `None` where the type has no such encoding.
    fn from_delta(value: i64) -> Option<Self>;
}

macro_rules! plain {
    ($type:ty, $bytes:literal, $delta:expr) => {
        impl Plain for $type {
            const BYTES: usize = $bytes;

            #[inline]
            fn read(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().unwrap_or_default())
            }

            #[inline]
            fn from_delta(value: i64) -> Option<Self> {
                let from: fn(i64) -> Option<Self> = $delta;
                from(value)
            }
        }
    };
}

plain!(i32, 4, |value| Some(value as i32));
plain!(i64, 8, Some);
plain!(f32, 4, |_| None);
plain!(f64, 8, |_| None);

/// A column chunk in memory, read front to back once.
pub(super) struct Chunk<R: ChunkReader> {
    pages: SerializedPageReader<R>,
    codec: Codec,
    optional: bool,
    rows: usize,
    next_row: usize,
    /// Wanted rows that lie before it.
    passed: usize,
    dictionary: Option<(Bytes, usize)>,
    /// Bumped with each dictionary.
    dictionaries: usize,
    pages_read: usize,
    pages_skipped: usize,
}

/// A data page that holds wanted rows.
struct Page<'a> {
    values: Bytes,
    encoding: Encoding,
    /// Values in the page: its rows that are not null.
    count: usize,
    wanted: Wanted<'a>,
    /// For each wanted row whether it has a value; `None` where all have.
    valid: Option<Vec<bool>>,
}

/// Which of a page's values are wanted, ascending.
enum Wanted<'a> {
    Range(Range<usize>),
    /// Those of these rows, of which the page's first is number `first`: each row has a value.
    Rows {
        rows: &'a [u32],
        first: u32,
    },
    List(Vec<u32>),
}

impl Wanted<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::Rows { rows, .. } => rows.len(),
            Self::List(list) => list.len(),
        }
    }

    /// The number after the last one wanted.
    fn end(&self) -> usize {
        match self {
            Self::Range(range) => range.end,
            Self::Rows { rows, first } => rows.last().map_or(0, |last| (last - first) as usize + 1),
            Self::List(list) => list.last().map_or(0, |last| *last as usize + 1),
        }
    }

    /// Calls `take` with each of them.
    #[inline]
    fn each(&self, mut take: impl FnMut(usize)) {
        match self {
            Self::Range(range) => range.clone().for_each(take),
            Self::Rows { rows, first } => rows.iter().for_each(|row| take((row - first) as usize)),
            Self::List(list) => list.iter().for_each(|number| take(*number as usize)),
        }
    }
}

/// What a chunk's dictionary was converted to, until the next one.
struct Dictionary<T> {
    number: usize,
    values: Vec<T>,
}

impl<T> Default for Dictionary<T> {
    fn default() -> Self {
        Self { number: 0, values: Vec::new() }
    }
}

impl<T> Dictionary<T> {
    fn refresh(&mut self, number: usize, values: impl FnOnce() -> Vec<T>) -> &[T] {
        if self.number != number {
            (self.values, self.number) = (values(), number);
        }
        &self.values
    }

    fn try_refresh(&mut self, number: usize, fill: impl FnOnce(&mut Vec<T>) -> Result<()>) -> Result<&[T]> {
        if self.number != number {
            self.values.clear();
            fill(&mut self.values)?;
            self.number = number;
        }
        Ok(&self.values)
    }
}

/// Whether a column's chunk of a row group can be read here: flat, of `physical` type, in encodings known here.
pub(super) fn readable(group: &RowGroupMetaData, leaf: usize, physical: Type) -> bool {
    let chunk = group.column(leaf);
    let column = chunk.column_descr();
    let known = |encoding: Encoding| {
        let deltas = matches!(physical, Type::INT32 | Type::INT64);
        match encoding {
            Encoding::PLAIN | Encoding::RLE | Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => true,
            Encoding::DELTA_BINARY_PACKED => deltas,
            _ => false,
        }
    };
    chunk.column_type() == physical
        && column.max_rep_level() == 0
        && column.max_def_level() <= 1
        && chunk.encodings().all(known)
}

impl<R: ChunkReader> Chunk<R> {
    /// The chunk of column `leaf`, for which [`readable`] holds, over its bytes.
    pub(super) fn open(bytes: Arc<R>, group: &RowGroupMetaData, leaf: usize) -> Result<Self> {
        let chunk = group.column(leaf);
        let rows = usize::try_from(group.num_rows()).map_err(|_| corrupt("a negative number of rows"))?;
        let (codec, chunk) = Codec::of(chunk)?;
        Ok(Self {
            pages: contained(|| SerializedPageReader::new(bytes, &chunk, rows, None))?,
            codec,
            optional: chunk.column_descr().max_def_level() == 1,
            rows,
            next_row: 0,
            passed: 0,
            dictionary: None,
            dictionaries: 0,
            pages_read: 0,
            pages_skipped: 0,
        })
    }

    /// Data pages decoded, and data pages passed over.
    pub(super) fn pages(&self) -> (usize, usize) {
        (self.pages_read, self.pages_skipped)
    }

    /// Appends the numbers at `rows`, converted; nulls as `null`.
    pub(super) fn numbers<P: Plain, T: Copy>(
        &mut self,
        rows: &Rows<'_>,
        null: T,
        convert: impl Fn(P) -> T,
        out: &mut Values<T>,
    ) -> Result<()> {
        let (mut dictionary, mut deltas) = (Dictionary::default(), Vec::new());
        while let Some(page) = self.next_page(rows)? {
            let first = out.values.len();
            match page.encoding {
                Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                    let (bytes, count) = self.plain_dictionary::<P>()?;
                    if rows.len() < count / SPARSE {
                        let at = |code: usize| convert(P::read(&bytes[code * P::BYTES..(code + 1) * P::BYTES]));
                        page.codes(count, at, &mut out.values)?;
                    } else {
                        let values = dictionary.refresh(self.dictionaries, || {
                            bytes.chunks_exact(P::BYTES).take(count).map(|bytes| convert(P::read(bytes))).collect()
                        });
                        page.codes(count, |code| values[code], &mut out.values)?;
                    }
                }
                Encoding::PLAIN => page.plain::<P, T>(&convert, &mut out.values)?,
                Encoding::DELTA_BINARY_PACKED => {
                    delta::decode(&page.values, page.wanted.end(), &mut deltas)?;
                    page.deltas::<P, T>(&deltas, &convert, &mut out.values)?;
                }
                other => return Err(unknown(other)),
            }
            page.spread(first, null, out);
        }
        self.complete(rows)
    }

    /// Appends what `convert` makes of the text or bytes at `rows`; nulls as `null`.
    pub(super) fn texts<T: Copy>(
        &mut self,
        rows: &Rows<'_>,
        null: T,
        convert: impl Fn(&[u8]) -> T,
        out: &mut Values<T>,
    ) -> Result<()> {
        let mut dictionary = Dictionary::default();
        while let Some(page) = self.next_page(rows)? {
            let first = out.values.len();
            match page.encoding {
                Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                    let (bytes, count) = self.dictionary()?;
                    let values = dictionary.try_refresh(self.dictionaries, |values| {
                        each_text(&bytes, count, |_, text| values.push(convert(text)))
                    })?;
                    page.codes(values.len(), |code| values[code], &mut out.values)?;
                }
                Encoding::PLAIN => page.texts(|text| out.values.push(convert(text)))?,
                other => return Err(unknown(other)),
            }
            page.spread(first, null, out);
        }
        self.complete(rows)
    }

    /// Appends the text or bytes at `rows`.
    pub(super) fn spans(&mut self, rows: &Rows<'_>, out: &mut Spans) -> Result<()> {
        let (mut dictionary, mut chosen) = (Dictionary::default(), Vec::new());
        while let Some(page) = self.next_page(rows)? {
            let mut ends = Vec::with_capacity(page.wanted.len());
            match page.encoding {
                Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY => {
                    let (bytes, count) = self.dictionary()?;
                    let spans = dictionary.try_refresh(self.dictionaries, |spans| {
                        each_text(&bytes, count, |start, text| spans.push((start, text.len())))
                    })?;
                    chosen.clear();
                    page.codes(spans.len(), |code| spans[code], &mut chosen)?;
                    for (start, length) in &chosen {
                        out.data.extend_from_slice(&bytes[*start..*start + *length]);
                        ends.push(out.data.len());
                    }
                }
                Encoding::PLAIN => page.texts(|text| {
                    out.data.extend_from_slice(text);
                    ends.push(out.data.len());
                })?,
                other => return Err(unknown(other)),
            }
            page.spread_spans(ends, out);
        }
        self.complete(rows)
    }

    /// Appends the booleans at `rows`; nulls as false.
    pub(super) fn booleans(&mut self, rows: &Rows<'_>, out: &mut Values<bool>) -> Result<()> {
        while let Some(page) = self.next_page(rows)? {
            let first = out.values.len();
            match page.encoding {
                Encoding::PLAIN => {
                    let bits = &page.values;
                    if bits.len() * 8 < page.wanted.end() {
                        return Err(corrupt("a page that is cut off"));
                    }
                    page.wanted.each(|number| out.values.push(bits[number / 8] >> (number % 8) & 1 == 1));
                }
                Encoding::RLE => {
                    let runs = Runs::parse(prefixed(&page.values)?.0, 1, page.count)?;
                    page.each_code(&runs, |value| out.values.push(value != 0));
                }
                other => return Err(unknown(other)),
            }
            page.spread(first, false, out);
        }
        self.complete(rows)
    }

    /// The next page with wanted rows, or `None` after the last.
    fn next_page<'a>(&mut self, rows: &Rows<'a>) -> Result<Option<Page<'a>>> {
        let Some(last) = rows.last() else { return Ok(None) };
        while self.next_row <= last {
            let Some(next) = contained(|| self.pages.peek_next_page())? else { break };
            if next.is_dict {
                self.read_dictionary()?;
                continue;
            }
            let length = next.num_rows.or(next.num_levels).ok_or_else(|| corrupt("a page of unknown length"))?;
            let here = self.next_row..self.next_row.saturating_add(length);
            self.next_row = here.end;
            let Some(wanted) = rows.within(&here, self.passed) else {
                self.pages_skipped += 1;
                contained(|| self.pages.skip_next_page())?;
                continue;
            };
            self.passed += wanted.len();
            self.pages_read += 1;
            let raw = contained(|| self.pages.get_next_page())?.ok_or_else(|| corrupt("a page that is not there"))?;
            return self.page(raw, &here, &wanted).map(Some);
        }
        Ok(None)
    }

    fn read_dictionary(&mut self) -> Result<()> {
        if let Some(RawPage::DictionaryPage { buf, num_values, encoding, .. }) =
            contained(|| self.pages.get_next_page())?
        {
            if !matches!(encoding, Encoding::PLAIN | Encoding::PLAIN_DICTIONARY) {
                return Err(unknown(encoding));
            }
            self.dictionary = Some((self.codec.undo(buf)?, num_values as usize));
            self.dictionaries += 1;
        }
        Ok(())
    }

    fn dictionary(&self) -> Result<(Bytes, usize)> {
        self.dictionary.clone().ok_or_else(|| corrupt("a page without its dictionary"))
    }

    fn plain_dictionary<P: Plain>(&self) -> Result<(Bytes, usize)> {
        let (bytes, count) = self.dictionary()?;
        if count.checked_mul(P::BYTES).is_none_or(|length| length > bytes.len()) {
            return Err(corrupt("a dictionary that is cut off"));
        }
        Ok((bytes, count))
    }

    fn page<'a>(&self, raw: RawPage, here: &Range<usize>, rows: &Rows<'a>) -> Result<Page<'a>> {
        let (values, encoding, levels, count) = match raw {
            RawPage::DataPage { buf, encoding, def_level_encoding, num_values, .. } => {
                let (buf, count) = (self.codec.undo(buf)?, num_values as usize);
                if !self.optional {
                    (buf, encoding, None, count)
                } else if def_level_encoding == Encoding::RLE {
                    let (levels, rest) = prefixed(&buf)?;
                    (buf.slice(rest..), encoding, Some(buf.slice_ref(levels)), count)
                } else {
                    return Err(unknown(def_level_encoding));
                }
            }
            RawPage::DataPageV2 {
                buf,
                encoding,
                num_values,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                ..
            } => {
                let start = rep_levels_byte_len as usize;
                let end = start.saturating_add(def_levels_byte_len as usize);
                if end > buf.len() {
                    return Err(corrupt("levels that are cut off"));
                }
                let levels = self.optional.then(|| buf.slice(start..end));
                let values = buf.slice(end..);
                let values = if is_compressed { self.codec.undo(values)? } else { values };
                (values, encoding, levels, num_values as usize)
            }
            RawPage::DictionaryPage { .. } => return Err(corrupt("a dictionary among the data pages")),
        };
        if count != here.len() {
            return Err(corrupt("a flat page with more values than rows"));
        }
        let valid = levels.map(|levels| valid(&levels, count)).transpose()?.flatten();
        let (count, wanted, valid) = choose(here, rows, valid);
        Ok(Page { values, encoding, count, wanted, valid })
    }

    fn complete(&self, rows: &Rows<'_>) -> Result<()> {
        match rows.last() {
            Some(last) if last >= self.next_row || self.next_row > self.rows => {
                Err(corrupt("pages that hold fewer rows than the row group"))
            }
            _ => Ok(()),
        }
    }
}

impl Page<'_> {
    /// Appends what the wanted codes of a dictionary of `count` values stand for.
    fn codes<T>(&self, count: usize, value: impl Fn(usize) -> T, out: &mut Vec<T>) -> Result<()> {
        if self.wanted.len() == 0 {
            return Ok(());
        }
        let Some((width, data)) = self.values.split_first() else { return Err(corrupt("a page that is cut off")) };
        let runs = Runs::parse(data, u32::from(*width), self.count)?;
        let Some(last) = count.checked_sub(1) else { return Err(corrupt("an empty dictionary")) };
        let mut highest = 0;
        self.each_code(&runs, |code| {
            highest = highest.max(code as usize);
            out.push(value((code as usize).min(last)));
        });
        if highest > last { Err(corrupt("a code beyond the dictionary")) } else { Ok(()) }
    }

    #[inline]
    fn each_code(&self, runs: &Runs<'_>, take: impl FnMut(u32)) {
        match &self.wanted {
            Wanted::Range(range) => runs.each(range.clone(), take),
            Wanted::Rows { rows, first } => runs.each(rows.iter().map(|row| (row - first) as usize), take),
            Wanted::List(list) => runs.each(list.iter().map(|number| *number as usize), take),
        }
    }

    fn plain<P: Plain, T>(&self, convert: impl Fn(P) -> T, out: &mut Vec<T>) -> Result<()> {
        if self.wanted.end().checked_mul(P::BYTES).is_none_or(|length| length > self.values.len()) {
            return Err(corrupt("a page that is cut off"));
        }
        match &self.wanted {
            Wanted::Range(range) => {
                let bytes = &self.values[range.start * P::BYTES..range.end * P::BYTES];
                out.extend(bytes.chunks_exact(P::BYTES).map(|bytes| convert(P::read(bytes))));
            }
            wanted => wanted.each(|number| {
                let at = number * P::BYTES;
                out.push(convert(P::read(&self.values[at..at + P::BYTES])));
            }),
        }
        Ok(())
    }

    fn deltas<P: Plain, T>(&self, deltas: &[i64], convert: impl Fn(P) -> T, out: &mut Vec<T>) -> Result<()> {
        let mut good = deltas.len() >= self.wanted.end();
        if good {
            self.wanted.each(|number| match P::from_delta(deltas[number]) {
                Some(value) => out.push(convert(value)),
                None => good = false,
            });
        }
        if good { Ok(()) } else { Err(corrupt("a page with too few deltas")) }
    }

    /// Calls `take` with each wanted text of a plain page.
    fn texts(&self, mut take: impl FnMut(&[u8])) -> Result<()> {
        let (mut at, mut number) = (0, 0);
        let mut failed = None;
        self.wanted.each(|wanted| {
            while failed.is_none() && number <= wanted {
                match text_at(&self.values, &mut at) {
                    Ok(text) if number == wanted => take(text),
                    Ok(_) => {}
                    Err(error) => failed = Some(error),
                }
                number += 1;
            }
        });
        failed.map_or(Ok(()), Err)
    }

    /// Puts nulls between the values that were appended from `first` on.
    fn spread<T: Copy>(&self, first: usize, null: T, out: &mut Values<T>) {
        let Some(valid) = &self.valid else {
            return out.nulls.append_n_non_nulls(out.values.len() - first);
        };
        let mut from = out.values.len();
        out.values.resize(first + valid.len(), null);
        for (at, valid) in valid.iter().enumerate().rev() {
            if *valid {
                from -= 1;
                out.values[first + at] = out.values[from];
            } else {
                out.values[first + at] = null;
            }
        }
        out.nulls.append_slice(valid);
    }

    fn spread_spans(&self, ends: Vec<usize>, out: &mut Spans) {
        let Some(valid) = &self.valid else {
            out.nulls.append_n_non_nulls(ends.len());
            return out.ends.extend(ends);
        };
        let mut ends = ends.into_iter();
        let mut last = out.ends.last().copied().unwrap_or(0);
        for valid in valid {
            if *valid {
                last = ends.next().unwrap_or(last);
            }
            out.ends.push(last);
        }
        out.nulls.append_slice(valid);
    }
}

/// Asks Parquet's reader, which panics on some headers and footers whose parts contradict each other.
pub(super) fn contained<T>(read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(corrupt("a header that contradicts itself")))
}

/// Which rows of a page have a value, from its definition levels; `None` where all have.
fn valid(levels: &[u8], rows: usize) -> Result<Option<Ranks>> {
    let runs = Runs::parse(levels, 1, rows)?;
    if runs.all(1) {
        return Ok(None);
    }
    let mut words = vec![0_u64; rows.div_ceil(64)];
    runs.fill_bits(&mut words);
    Ok(Some(Ranks::of(words)))
}

/// The values in a page, those of them that are wanted, and which wanted rows have one.
fn choose<'a>(here: &Range<usize>, rows: &Rows<'a>, valid: Option<Ranks>) -> (usize, Wanted<'a>, Option<Vec<bool>>) {
    let Some(valid) = valid else {
        let wanted = match rows {
            Rows::All(range) => Wanted::Range(range.start - here.start..range.end - here.start),
            Rows::Some(rows) => Wanted::Rows { rows, first: here.start as u32 },
        };
        return (here.len(), wanted, None);
    };
    let (mut list, mut of_rows) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    let mut take = |row: usize| {
        let number = valid.rank(row);
        of_rows.push(number.is_some());
        list.extend(number);
    };
    match rows {
        Rows::All(range) => range.clone().for_each(|row| take(row - here.start)),
        Rows::Some(rows) => rows.iter().for_each(|row| take(*row as usize - here.start)),
    }
    (valid.count(), Wanted::List(list), Some(of_rows))
}

/// What follows a length of four bytes, and where it ends.
fn prefixed(data: &[u8]) -> Result<(&[u8], usize)> {
    let cut = || corrupt("levels that are cut off");
    let length = data.get(..4).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes).ok_or_else(cut)?;
    let end = 4_usize.checked_add(length as usize).ok_or_else(cut)?;
    Ok((data.get(4..end).ok_or_else(cut)?, end))
}

fn text_at<'a>(data: &'a [u8], at: &mut usize) -> Result<&'a [u8]> {
    let (text, length) = prefixed(data.get(*at..).unwrap_or_default())?;
    *at += length;
    Ok(text)
}

/// Calls `take` with each text of a plain dictionary and where it starts.
fn each_text(data: &[u8], count: usize, mut take: impl FnMut(usize, &[u8])) -> Result<()> {
    let mut at = 0;
    for _ in 0..count {
        let text = text_at(data, &mut at)?;
        take(at - text.len(), text);
    }
    Ok(())
}

fn corrupt(what: &str) -> ParquetError {
    ParquetError::General(format!("the page is corrupt: {what}"))
}

fn unknown(encoding: Encoding) -> ParquetError {
    ParquetError::NYI(format!("the page has encoding {encoding}, which its footer does not name"))
}
