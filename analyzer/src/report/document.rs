//! What the formats for people have in common: sections of text and tables, without any markup.
//!
//! The terminal and the Markdown renderer print the same document; reports and gates build it.

/// A document for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// Its heading.
    pub title: String,
    /// Its sections in order.
    pub sections: Vec<Section>,
}

/// A part of a document with a heading.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// What it holds, in order.
    pub blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// A paragraph that must not be overlooked.
    Warning(String),
    /// Short lines that belong together.
    List(Vec<String>),
    /// A table.
    Table(Table),
    /// SQL, with what it answers.
    Sql {
        /// What the query answers.
        title: String,
        /// The query.
        sql: String,
    },
}

/// On which side the cells of a column are lined up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table of text cells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Headings and alignment of the columns.
    pub columns: Vec<(String, Align)>,
    /// The rows; each has as many cells as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    #[must_use]
    pub fn new(columns: &[(&str, Align)]) -> Self {
        Self {
            columns: columns
                .iter()
                .map(|(title, align)| ((*title).to_owned(), *align))
                .collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells are empty, surplus ones are dropped.
    pub fn push(&mut self, mut cells: Vec<String>) {
        cells.resize(self.columns.len(), String::new());
        self.rows.push(cells);
    }
}
