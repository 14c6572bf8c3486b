//! From text to streams of rows.

use datafusion::execution::SendableRecordBatchStream;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::Error;
use crate::session::Session;

/// Splits a text into statements.
///
/// # Errors
/// [`Error::Query`] when it is not SQL, [`Error::Usage`] when there is no statement in it.
pub(super) fn parse(text: &str) -> Result<Vec<Statement>, Error> {
    let statements = DFParserBuilder::new(text)
        .with_dialect(&GenericDialect {})
        .build()
        .and_then(|mut parser| parser.parse_statements())?;
    if statements.is_empty() {
        return Err(Error::Usage(
            "no SQL statement given; try -c \"SELECT count(*) FROM changes\"".to_owned(),
        ));
    }
    Ok(statements.into())
}

/// Starts a statement; its rows come as they are made.
///
/// # Errors
/// [`Error::Query`] when the statement is wrong.
pub(super) async fn execute(
    session: &Session,
    statement: Statement,
) -> Result<SendableRecordBatchStream, Error> {
    let context = session.context();
    let plan = context.state().statement_to_plan(statement).await?;
    let frame = context.execute_logical_plan(plan).await?;
    frame.execute_stream().await.map_err(Error::from)
}

/// Whether a text ends with a semicolon that is not inside a string or a comment.
pub(super) fn is_finished(text: &str) -> bool {
    // An open string or comment is an error of the tokenizer: the text goes on.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize() else {
        return false;
    };
    let last = tokens
        .iter()
        .rev()
        .find(|token| !matches!(token, Token::Whitespace(_)));
    last == Some(&Token::SemiColon)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_into_statements() {
        assert_eq!(parse("SELECT 1; SELECT ';' ; ").unwrap().len(), 2);
        assert!(matches!(parse(" ;; "), Err(Error::Usage(_))));
        assert!(matches!(parse("SELEC 1"), Err(Error::Query(_))));
    }

    #[test]
    fn a_semicolon_in_a_string_does_not_end_a_statement() {
        assert!(is_finished("SELECT 1;"));
        assert!(is_finished("SELECT 1; -- that was it\n"));
        assert!(!is_finished("SELECT 1"));
        assert!(!is_finished("SELECT ';"));
        assert!(!is_finished("SELECT 1 -- ;"));
        assert!(!is_finished("/* ;"));
    }
}
