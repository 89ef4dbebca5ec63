//! Counts a statement's parts before anything recurses over them.
//!
//! Parsers, planners and even the destructors of plans recurse over expressions; some thousands of chained operators would
//! overflow a stack and abort the process. Tokens are counted instead, in one loop without recursion.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{Error, Result};

/// Longest statement, in bytes.
const BYTES: usize = 1 << 20;

/// Operators of all kinds, joins and set operations among them.
const OPERATORS: usize = 1_000;

/// Values, columns and arguments: what commas separate.
const LIST_ITEMS: usize = 20_000;

/// Brackets within brackets.
const DEPTH: usize = 64;

/// Refuses a statement with more parts than can be planned safely.
pub(super) fn check(query: &str) -> Result<()> {
    if query.len() > BYTES {
        return Err(Error::TooComplex { what: "bytes", limit: BYTES });
    }
    let tokens = Tokenizer::new(&GenericDialect {}, query)
        .tokenize()
        .map_err(|error| Error::Sql(format!("the query can't be read: {error}")))?;
    let (mut operators, mut items, mut depth, mut deepest) = (0_usize, 0_usize, 0_usize, 0_usize);
    for token in &tokens {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Comma => items += 1,
            Token::Word(word) => operators += usize::from(is_operator(word.keyword)),
            Token::Whitespace(_)
            | Token::EOF
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::SemiColon
            | Token::Placeholder(_) => {}
            // Every other token is an operator, or as rare as one.
            _ => operators += 1,
        }
    }
    let over = [
        (operators > OPERATORS, "operators", OPERATORS),
        (items > LIST_ITEMS, "listed values", LIST_ITEMS),
        (deepest > DEPTH, "levels of brackets", DEPTH),
    ];
    match over.into_iter().find(|(over, ..)| *over) {
        Some((_, what, limit)) => Err(Error::TooComplex { what, limit }),
        None => Ok(()),
    }
}

/// Words that nest what stands around them.
fn is_operator(keyword: Keyword) -> bool {
    use Keyword as K;
    matches!(
        keyword,
        K::AND
            | K::OR
            | K::NOT
            | K::XOR
            | K::IS
            | K::IN
            | K::BETWEEN
            | K::LIKE
            | K::ILIKE
            | K::SIMILAR
            | K::CASE
            | K::WHEN
            | K::CAST
            | K::TRY_CAST
            | K::SELECT
            | K::UNION
            | K::INTERSECT
            | K::EXCEPT
            | K::JOIN
            | K::AT
            | K::COLLATE
            | K::DIV
            | K::OVERLAPS
            | K::EXISTS
            | K::INTERVAL
            | K::OVER
    )
}
