//! Renders a document as GitHub-flavoured Markdown, as for `$GITHUB_STEP_SUMMARY`.

use super::document::{Align, Block, Document, Table};

/// The document as Markdown, ending in a newline.
#[must_use]
pub fn render(document: &Document) -> String {
    let mut out = format!("# {}\n", escaped(&document.title));
    for section in &document.sections {
        out.push_str(&format!("\n## {}\n", escaped(&section.title)));
        for block in &section.blocks {
            out.push('\n');
            match block {
                Block::Text(text) => out.push_str(&format!("{}\n", escaped(text))),
                Block::Warning(text) => {
                    out.push_str(&format!("> [!WARNING]\n> {}\n", escaped(text)));
                }
                Block::List(items) => {
                    for item in items {
                        out.push_str(&format!("- {}\n", escaped(item)));
                    }
                }
                Block::Table(table) => render_table(&mut out, table),
                Block::Sql { title, sql } => out.push_str(&format!(
                    "<details><summary>SQL: {}</summary>\n\n```sql\n{}\n```\n\n</details>\n",
                    escaped(title),
                    sql.trim_end()
                )),
            }
        }
    }
    out
}

fn render_table(out: &mut String, table: &Table) {
    let titles = table.columns.iter().map(|(title, _)| escaped(title));
    push_row(out, titles);
    let rulers = table.columns.iter().map(|(_, align)| match align {
        Align::Left => ":---".to_owned(),
        Align::Right => "---:".to_owned(),
    });
    push_row(out, rulers);
    for row in &table.rows {
        push_row(out, row.iter().map(|cell| escaped(cell)));
    }
}

fn push_row(out: &mut String, cells: impl Iterator<Item = String>) {
    out.push('|');
    for cell in cells {
        out.push_str(&format!(" {cell} |"));
    }
    out.push('\n');
}

/// Text that Markdown and HTML leave as it is: names come from the cluster, and may hold anything.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut previous = ' ';
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        // Within a word, an underscore is no markup, and many names have some.
        let is_in_word =
            previous.is_alphanumeric() && rest.peek().is_some_and(|next| next.is_alphanumeric());
        match character {
            '_' if is_in_word => out.push('_'),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => {
                out.push('\\');
                out.push(character);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\n' | '\r' => out.push(' '),
            other => out.push(other),
        }
        previous = character;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::document::Section;
    use super::*;

    #[test]
    fn tables_and_warnings_use_github_syntax_and_names_are_escaped() {
        let mut table = Table::new(&[("Kind", Align::Left), ("n", Align::Right)]);
        table.push(vec!["a|b <i>_x_ y_z".into(), "5".into()]);
        let document = Document {
            title: "Report".into(),
            sections: vec![Section {
                title: "Changes".into(),
                blocks: vec![
                    Block::Warning("Mind\nthe gap.".into()),
                    Block::Table(table),
                    Block::List(vec!["one".into()]),
                    Block::Sql {
                        title: "count".into(),
                        sql: "SELECT 1\n".into(),
                    },
                ],
            }],
        };
        assert_eq!(
            render(&document),
            "# Report\n\n## Changes\n\n> [!WARNING]\n> Mind the gap.\n\n\
             | Kind | n |\n| :--- | ---: |\n| a\\|b &lt;i&gt;\\_x\\_ y_z | 5 |\n\n- one\n\n\
             <details><summary>SQL: count</summary>\n\n```sql\nSELECT 1\n```\n\n</details>\n"
        );
    }
}
