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

/// Tables joined, by commas too: planning takes time that grows faster than their number.
const TABLES: usize = 64;

/// Brackets within brackets.
const DEPTH: usize = 64;

/// Refuses a statement with more parts than can be planned safely.
pub(crate) fn check(query: &str) -> Result<()> {
    if query.len() > BYTES {
        return Err(Error::TooComplex { what: "bytes", limit: BYTES });
    }
    let tokens = Tokenizer::new(&GenericDialect {}, query)
        .tokenize()
        .map_err(|error| Error::Sql(format!("the query can't be read: {error}")))?;
    let (mut operators, mut items, mut tables, mut deepest) = (0_usize, 0_usize, 0_usize, 0_usize);
    // For each open bracket, and the query itself: whether a comma now stands between tables.
    let mut in_from = vec![false];
    let mut before = Keyword::NoKeyword;
    for token in &tokens {
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                in_from.push(false);
                deepest = deepest.max(in_from.len() - 1);
            }
            Token::RParen | Token::RBracket | Token::RBrace if in_from.len() > 1 => _ = in_from.pop(),
            Token::RParen | Token::RBracket | Token::RBrace => {}
            Token::Comma => {
                items += 1;
                tables += usize::from(in_from.last() == Some(&true));
            }
            Token::Word(word) => {
                operators += usize::from(is_operator(word.keyword));
                tables += usize::from(word.keyword == Keyword::JOIN);
                if let (Some(now), Some(last)) = (from_clause(before, word.keyword), in_from.last_mut()) {
                    *last = now;
                }
                before = word.keyword;
            }
            Token::Whitespace(_)
            | Token::EOF
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::SemiColon
            | Token::Period
            | Token::Placeholder(_) => {}
            // Every other token is an operator, or as rare as one.
            _ => operators += 1,
        }
    }
    let over = [
        (operators > OPERATORS, "operators", OPERATORS),
        (tables > TABLES, "joined tables", TABLES),
        (items > LIST_ITEMS, "listed values", LIST_ITEMS),
        (deepest > DEPTH, "levels of brackets", DEPTH),
    ];
    match over.into_iter().find(|(over, ..)| *over) {
        Some((_, what, limit)) => Err(Error::TooComplex { what, limit }),
        None => Ok(()),
    }
}

/// Whether a word begins a list of tables, ends one, or neither.
fn from_clause(before: Keyword, word: Keyword) -> Option<bool> {
    use Keyword as K;
    match word {
        // `IS DISTINCT FROM` compares.
        K::FROM => (before != K::DISTINCT).then_some(true),
        K::SELECT | K::WHERE | K::GROUP | K::HAVING | K::WINDOW | K::QUALIFY | K::ORDER | K::LIMIT | K::UNION => {
            Some(false)
        }
        K::INTERSECT | K::EXCEPT | K::MINUS | K::VALUES => Some(false),
        _ => None,
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
            | K::RLIKE
            | K::REGEXP
            | K::MATCH
            | K::MEMBER
            | K::MINUS
            | K::VALUES
            | K::TABLE
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
