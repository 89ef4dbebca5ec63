//! Tiles as bytes. Frozen by golden tests.
//!
//! ```text
//! format u8 = 1 · one partial after the other, in the order of the layout
//!
//! count            count u64
//! sum              count u64 · sum i128; of floats: count u64 · double
//! moments          count u64 · double · double of the squares
//! min, max         0, or 1 · value
//! first, last      0, or 1 · ranked
//! last_n           count u32 · ranked…, the last one last
//! distinct         length u32 · a compact theta sketch of DataSketches, in order; nothing for the empty set
//! percentile       count u32 · (bin i32 · count u64)…, bins ascending
//! top_k            count u32 · (value · count u64)…, values ascending
//!
//! value            i64 · f64 · i128 · length u32, bytes; by the input's type
//! ranked           event time i64 · 0, or 1 · created time i64 · value
//! double           high f64 · low f64
//! ```
//! Everything is little-endian. What a partial is of is not told: it is known from the layout.

use super::bins::Bins;
use super::distinct::Distinct;
use super::double::Double;
use super::partial::{Kind, Partial, Spec, State};
use super::ranked::Ranked;
use super::top::Counts;
use super::value::{Class, Held};
use crate::time::Micros;

/// The format of a tile's bytes.
pub(super) const FORMAT: u8 = 1;

/// Bytes that are no tile of the layout they are read by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTile {
    /// They end early.
    #[error("a tile ends early")]
    Short,
    /// They go on after the last partial.
    #[error("a tile has {0} bytes too many")]
    Long(usize),
    /// A format of another release.
    #[error("a tile has format {0}, expected {FORMAT}")]
    Format(u8),
    /// No writer writes this.
    #[error("a tile holds {0}")]
    Content(&'static str),
}

type Result<T> = std::result::Result<T, BadTile>;

pub(super) fn encode(partials: &[Partial], out: &mut Vec<u8>) {
    out.push(FORMAT);
    partials.iter().for_each(|partial| put(&partial.0, out));
}

pub(super) fn decode(specs: &[Spec], bytes: &[u8]) -> Result<Vec<Partial>> {
    let mut reader = Reader(bytes);
    match reader.u8()? {
        FORMAT => {}
        format => return Err(BadTile::Format(format)),
    }
    let partials = specs.iter().map(|spec| get(spec, &mut reader).map(Partial)).collect::<Result<_>>()?;
    match reader.0.len() {
        0 => Ok(partials),
        left => Err(BadTile::Long(left)),
    }
}

fn put(state: &State, out: &mut Vec<u8>) {
    match state {
        State::Count(count) => out.extend_from_slice(&count.to_le_bytes()),
        State::Exact { count, sum } => {
            out.extend_from_slice(&count.to_le_bytes());
            out.extend_from_slice(&sum.to_le_bytes());
        }
        State::Float { count, sum } => {
            out.extend_from_slice(&count.to_le_bytes());
            put_double(sum, out);
        }
        State::Moments { count, sum, squares } => {
            out.extend_from_slice(&count.to_le_bytes());
            put_double(sum, out);
            put_double(squares, out);
        }
        State::Extreme(held) => put_option(held.as_ref(), out, put_held),
        State::Edge(edge) => put_option(edge.as_deref(), out, put_ranked),
        State::Latest(last) => {
            put_length(last.len(), out);
            last.iter().for_each(|ranked| put_ranked(ranked, out));
        }
        State::Distinct(set) => {
            let bytes = set.serialize();
            put_length(bytes.len(), out);
            out.extend_from_slice(&bytes);
        }
        State::Bins(Bins(bins)) => {
            put_length(bins.len(), out);
            for (bin, count) in bins {
                out.extend_from_slice(&bin.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
            }
        }
        State::Top(counts) => {
            let kept = counts.pruned();
            put_length(kept.len(), out);
            for (value, count) in kept {
                put_held(value, out);
                out.extend_from_slice(&count.to_le_bytes());
            }
        }
    }
}

/// A tile of more than 4 GiB is beyond what any store takes.
fn put_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_option<T>(value: Option<&T>, out: &mut Vec<u8>, put: impl FnOnce(&T, &mut Vec<u8>)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(value, out);
    }
}

fn put_double(double: &Double, out: &mut Vec<u8>) {
    out.extend_from_slice(&double.high.to_le_bytes());
    out.extend_from_slice(&double.low.to_le_bytes());
}

fn put_held(held: &Held, out: &mut Vec<u8>) {
    match held {
        Held::Int(value) => out.extend_from_slice(&value.to_le_bytes()),
        Held::Float(value) => out.extend_from_slice(&value.to_le_bytes()),
        Held::Decimal(value) => out.extend_from_slice(&value.to_le_bytes()),
        Held::Bytes(bytes) => {
            put_length(bytes.len(), out);
            out.extend_from_slice(bytes);
        }
    }
}

fn put_ranked(ranked: &Ranked, out: &mut Vec<u8>) {
    out.extend_from_slice(&ranked.event.to_le_bytes());
    put_option(ranked.created.as_ref(), out, |created, out| out.extend_from_slice(&created.to_le_bytes()));
    put_held(&ranked.held, out);
}

fn get(spec: &Spec, reader: &mut Reader<'_>) -> Result<State> {
    Ok(match (spec.kind, spec.class) {
        (Kind::Count, _) => State::Count(reader.u64()?),
        (Kind::Sum, Class::Float) => State::Float { count: reader.u64()?, sum: reader.double()? },
        (Kind::Sum, _) => State::Exact { count: reader.u64()?, sum: i128::from_le_bytes(reader.array()?) },
        (Kind::Moments, _) => State::Moments { count: reader.u64()?, sum: reader.double()?, squares: reader.double()? },
        (Kind::Min | Kind::Max, class) => State::Extreme(reader.option(|reader| reader.held(class))?),
        (Kind::First | Kind::Last, class) => State::Edge(reader.option(|reader| reader.ranked(class))?.map(Box::new)),
        (Kind::LastN(most), class) => {
            let last = reader.list(|reader| reader.ranked(class))?;
            let sorted = last.is_sorted_by(|a, b| a.candidate().order(&b.candidate()).is_le());
            let fits = last.len() <= usize::try_from(most).unwrap_or(usize::MAX);
            State::Latest(check(last, sorted && fits, "last values that are too many or out of order")?)
        }
        (Kind::Distinct, _) => {
            let bytes = reader.bytes()?;
            let set = Distinct::deserialize(bytes).ok_or(BadTile::Content("a set that is no sketch"))?;
            State::Distinct(Box::new(set))
        }
        (Kind::Bins, _) => {
            let bins = reader.list(|reader| Ok((i32::from_le_bytes(reader.array()?), reader.u64()?)))?;
            let sorted = bins.is_sorted_by(|(a, _), (b, _)| a < b);
            State::Bins(Bins(check(bins, sorted, "bins out of order")?))
        }
        (Kind::Top, class) => {
            let counts = reader.list(|reader| Ok((reader.held(class)?, reader.u64()?)))?;
            let sorted = counts.is_sorted_by(|(a, _), (b, _)| a.value().order(&b.value()).is_lt());
            State::Top(Counts(check(counts, sorted, "counts out of order")?))
        }
    })
}

/// Searches in it would go wrong otherwise.
fn check<T>(list: Vec<T>, sorted: bool, what: &'static str) -> Result<Vec<T>> {
    if sorted { Ok(list) } else { Err(BadTile::Content(what)) }
}

/// Bytes yet to be read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(BadTile::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(BadTile::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn f64(&mut self) -> Result<f64> {
        self.array().map(f64::from_le_bytes)
    }

    fn length(&mut self) -> Result<usize> {
        self.array().map(|bytes| u32::from_le_bytes(bytes) as usize)
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn double(&mut self) -> Result<Double> {
        Ok(Double { high: self.f64()?, low: self.f64()? })
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(BadTile::Content("a mark of presence that is neither 0 nor 1")),
        }
    }

    /// The count is not trusted to size anything.
    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.length()?;
        (0..count).map(|_| read(self)).collect()
    }

    fn held(&mut self, class: Class) -> Result<Held> {
        Ok(match class {
            Class::Int => Held::Int(self.array().map(i64::from_le_bytes)?),
            Class::Float => Held::Float(self.f64()?),
            Class::Decimal => Held::Decimal(self.array().map(i128::from_le_bytes)?),
            Class::Bytes => Held::Bytes(self.bytes()?.into()),
        })
    }

    fn ranked(&mut self, class: Class) -> Result<Ranked> {
        Ok(Ranked {
            event: self.array().map(Micros::from_le_bytes)?,
            created: self.option(|reader| reader.array().map(Micros::from_le_bytes))?,
            held: self.held(class)?,
        })
    }
}
