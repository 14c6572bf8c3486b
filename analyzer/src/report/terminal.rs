//! Renders a document for a terminal: aligned columns that fit the width, colour where wanted.

use std::fmt::Write as _;

use super::document::{Align, Block, Document, Section, Table};
use crate::printable;

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TerminalOptions {
    /// Columns that a line may take; `None` when the output is no terminal: nothing is shortened.
    pub width: Option<usize>,
    /// Whether headings and warnings are coloured.
    pub color: bool,
}

/// Columns between two cells.
const GUTTER: usize = 2;
/// A shortened column keeps at least this many characters.
const NARROWEST: usize = 12;

/// The document as text, ending in a newline.
#[must_use]
pub fn render(document: &Document, options: TerminalOptions) -> String {
    let painter = Painter {
        color: options.color,
    };
    let mut out = String::new();
    push_line(&mut out, &painter.bold(&printable::cell(&document.title)));
    for section in &document.sections {
        out.push('\n');
        render_section(&mut out, section, options, painter);
    }
    out
}

fn render_section(out: &mut String, section: &Section, options: TerminalOptions, painter: Painter) {
    push_line(out, &painter.bold(&section.title));
    let mut previous_was_text = true;
    for block in &section.blocks {
        let is_text = !matches!(block, Block::Table(_) | Block::Sql { .. });
        if !(previous_was_text && is_text) {
            out.push('\n');
        }
        previous_was_text = is_text;
        match block {
            Block::Text(text) => push_wrapped(out, text, "  ", "  ", options.width),
            Block::Warning(text) => {
                let mut lines = String::new();
                push_wrapped(&mut lines, text, "! ", "  ", options.width);
                for line in lines.lines() {
                    push_line(out, &painter.yellow(line));
                }
            }
            Block::List(items) => {
                for item in items {
                    push_wrapped(out, item, "  - ", "    ", options.width);
                }
            }
            Block::Table(table) => render_table(out, table, options.width, painter),
            Block::Sql { title, sql } => {
                push_line(out, &painter.dim(&format!("  -- {title}")));
                for line in printable::lines(sql).lines() {
                    push_line(out, &painter.dim(format!("  {line}").trim_end()));
                }
            }
        }
    }
}

fn render_table(out: &mut String, table: &Table, width: Option<usize>, painter: Painter) {
    let shown = |cell: &String| printable::cell(cell).into_owned();
    let rows = table.rows.iter();
    let table = &Table {
        columns: table.columns.clone(),
        rows: rows.map(|row| row.iter().map(shown).collect()).collect(),
    };
    let widths = column_widths(table, width);
    let titles: Vec<&str> = table
        .columns
        .iter()
        .map(|(title, _)| title.as_str())
        .collect();
    push_line(
        out,
        &painter.dim(&aligned(&titles, &table.columns, &widths)),
    );
    for row in &table.rows {
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        push_line(out, &aligned(&cells, &table.columns, &widths));
    }
}

/// The width of each column: that of its widest cell, left-aligned ones shortened, widest first,
/// until a line fits. Numbers are never shortened.
fn column_widths(table: &Table, available: Option<usize>) -> Vec<usize> {
    let mut widths: Vec<usize> = table
        .columns
        .iter()
        .enumerate()
        .map(|(index, (title, _))| {
            let cells = table.rows.iter().filter_map(|row| row.get(index));
            cells
                .map(|cell| length(cell))
                .chain([length(title)])
                .max()
                .unwrap_or(0)
        })
        .collect();
    let Some(available) = available else {
        return widths;
    };
    let mut excess =
        (widths.iter().sum::<usize>() + GUTTER * widths.len()).saturating_sub(available);
    while excess > 0 {
        let widest = widths
            .iter_mut()
            .zip(&table.columns)
            .filter(|(width, (_, align))| *align == Align::Left && **width > NARROWEST)
            .max_by_key(|(width, _)| **width);
        let Some((widest, _)) = widest else {
            break;
        };
        *widest -= 1;
        excess -= 1;
    }
    widths
}

fn aligned(cells: &[&str], columns: &[(String, Align)], widths: &[usize]) -> String {
    let mut line = String::new();
    for ((cell, (_, align)), width) in cells.iter().zip(columns).zip(widths) {
        let cell = shortened(cell, *width);
        let padding = " ".repeat(width - length(&cell));
        // Writing to a String cannot fail.
        let _ = match align {
            Align::Left => write!(line, "  {cell}{padding}"),
            Align::Right => write!(line, "  {padding}{cell}"),
        };
    }
    line.truncate(line.trim_end().len());
    line
}

fn shortened(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Adds `text` broken at spaces so that it fits the width.
fn push_wrapped(out: &mut String, text: &str, first: &str, rest: &str, width: Option<usize>) {
    let available = width.map_or(usize::MAX, |width| width.max(NARROWEST + rest.len()));
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in printable::lines(text).split_whitespace() {
        if !is_empty && length(&line) + 1 + length(word) > available {
            push_line(out, &line);
            rest.clone_into(&mut line);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    push_line(out, &line);
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Colours text, or does not.
#[derive(Clone, Copy)]
struct Painter {
    color: bool,
}

impl Painter {
    fn paint(self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        let mut table = Table::new(&[("Kind", Align::Left), ("n", Align::Right)]);
        table.push(vec![
            "A kind with a rather long name".into(),
            "1,234".into(),
        ]);
        table.push(vec!["Pod".into(), "5".into()]);
        Document {
            title: "Report".into(),
            sections: vec![Section {
                title: "Changes".into(),
                blocks: vec![
                    Block::Text("One two three four five six.".into()),
                    Block::Warning("Mind the gap.".into()),
                    Block::Table(table),
                ],
            }],
        }
    }

    #[test]
    fn columns_are_aligned_and_nothing_is_shortened_without_a_terminal() {
        let text = render(&document(), TerminalOptions::default());
        assert_eq!(
            text,
            "Report\n\nChanges\n  One two three four five six.\n! Mind the gap.\n\n  \
             Kind                                n\n  \
             A kind with a rather long name  1,234\n  \
             Pod                                 5\n"
        );
    }

    #[test]
    fn a_narrow_terminal_wraps_text_and_shortens_names_but_no_numbers() {
        let text = render(
            &document(),
            TerminalOptions {
                width: Some(24),
                color: false,
            },
        );
        assert!(text.contains("  A kind with a…   1,234\n"), "{text}");
        assert!(
            text.contains("  One two three four\n  five six.\n"),
            "{text}"
        );
        assert!(text.lines().all(|line| length(line) <= 24), "{text}");
    }

    #[test]
    fn a_width_that_cannot_be_met_is_no_error() {
        let text = render(
            &document(),
            TerminalOptions {
                width: Some(1),
                color: false,
            },
        );
        assert!(text.contains("1,234"), "{text}");
    }

    #[test]
    fn what_objects_hold_is_no_escape_code() {
        let mut table = Table::new(&[("Actor", Align::Left)]);
        table.rows.push(vec!["evil\u{1b}[2J".to_owned()]);
        let mut out = String::new();
        render_table(&mut out, &table, None, Painter { color: false });
        push_wrapped(&mut out, "by evil\u{1b}[2J", "", "", None);
        assert_eq!(out, "  Actor\n  evil\\u{1b}[2J\nby evil\\u{1b}[2J\n");
    }

    #[test]
    fn escape_codes_only_with_colour() {
        let plain = render(&document(), TerminalOptions::default());
        assert!(!plain.contains('\x1b'));
        let coloured = render(
            &document(),
            TerminalOptions {
                width: None,
                color: true,
            },
        );
        assert!(coloured.contains("\x1b[33m! Mind the gap.\x1b[0m"));
    }
}
