//! Derived tables as files: `cascade derive` writes them, and sessions over the same trace read them
//! instead of deriving them again.
//!
//! A derivation is a folder, `<trace>/derived/<id>/`: a Parquet file per table, and a manifest. The id is a hash of
//! what was read (every file of the trace, by its footer), of the rules (their sources), and of the settings.
//! A trace that has grown, or another version of the rules, has another id: what is found under the id
//! is never stale.

mod id;
mod manifest;
mod pieces;
mod read;
mod write;

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};

use crate::cli::{EngineArgs, TraceArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::milestones::Declarations;
use crate::output::Output;
use crate::report::arguments::terminal_options;
use crate::report::document::{Align, Block, Document, Section, Table};
use crate::report::{json, terminal, units};
use crate::session::Session;
pub(crate) use id::id;
use manifest::Manifest;
pub(crate) use read::{Found, find};

/// Folder within a trace that holds its derivations.
pub(crate) const FOLDER: &str = "derived";

/// A derived table that is written, and the columns by which its rows are sorted.
struct Written {
    name: &'static str,
    order: &'static [&'static str],
}

/// The key of a change.
const CHANGE: &[&str] = &["cluster_id", "epoch", "revision", "ordinal"];
/// The key of an effect.
const EFFECT: &[&str] = &["cluster_id", "epoch", "effect_revision", "effect_ordinal"];

/// The tables that are written, in the order of the documentation.
const WRITTEN: &[Written] = &[
    Written {
        name: "writes",
        order: CHANGE,
    },
    Written {
        name: "clocks",
        order: &["instance", "apiserver", "from_unix_nano"],
    },
    Written {
        name: "edges",
        order: EFFECT,
    },
    Written {
        name: "roots",
        order: CHANGE,
    },
    Written {
        name: "cpids",
        order: CHANGE,
    },
    Written {
        name: "cpid_agreement",
        order: CHANGE,
    },
    Written {
        name: "merges",
        order: &["new_cpid", "cluster_id", "epoch"],
    },
    Written {
        name: "hops",
        order: EFFECT,
    },
    Written {
        name: "reach",
        order: CHANGE,
    },
    Written {
        name: "path_steps",
        order: &["cluster_id", "epoch", "path_id", "position"],
    },
    Written {
        name: "cascades",
        order: CHANGE,
    },
    Written {
        name: "stages",
        order: CHANGE,
    },
];

/// Arguments of `cascade derive`.
#[derive(Debug, Args)]
#[command(after_help = "Example: cascade derive ./trace")]
pub struct DeriveArgs {
    #[command(flatten)]
    traces: TraceArgs,

    /// Folder to write to instead of `derived` in the first trace; queries read it with --derived.
    #[arg(short = 'o', long, value_name = "DIR", env = "CASCADE_OUTPUT")]
    output: Option<PathBuf>,

    /// Derive again what is there already.
    #[arg(long, env = "CASCADE_FORCE", value_parser = BoolishValueParser::new())]
    force: bool,

    /// How what was written is printed.
    #[arg(long, value_enum, default_value = "terminal", env = "CASCADE_FORMAT")]
    format: DeriveFormat,

    #[command(flatten)]
    pub(crate) engine: EngineArgs,
}

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeriveFormat {
    /// For people.
    Terminal,
    /// The manifest.
    Json,
}

/// Writes the derived tables of a trace, unless they are there already.
///
/// # Errors
/// When the trace cannot be read or the folder cannot be written.
pub async fn run(args: DeriveArgs) -> Result<Exit, Error> {
    let mut options = args.engine.options();
    // What is there is looked for where it would be written, and not used to make itself.
    options.derived = None;
    options.derive_anew = true;
    let session = Session::open(&args.traces.traces, &options).await?;
    let folder = match args.output {
        Some(folder) => folder,
        None => {
            let location = session.trace().locations.first();
            let location = location.ok_or_else(|| Error::Usage("no trace given".to_owned()))?;
            location.folder().join(FOLDER)
        }
    };
    let declarations = Declarations::load(options.milestones.as_deref())?;
    let id = id(session.trace(), &options, &declarations);
    let folder_of_id = folder.join(&id);
    let known = if args.force {
        None
    } else {
        Manifest::read(&folder_of_id)?
            .filter(|manifest| manifest.id == id && manifest.is_whole(&folder_of_id))
    };
    let is_known = known.is_some();
    let manifest = match known {
        Some(manifest) => manifest,
        None => write::write(&session, &options, &folder, &id).await?,
    };
    let text = match args.format {
        DeriveFormat::Json => json(&manifest)?,
        DeriveFormat::Terminal => {
            let place = folder_of_id.display().to_string();
            terminal::render(
                &document(&manifest, &place, is_known),
                terminal_options(false),
            )
        }
    };
    Output::open(None)?.finish_with(&text)?;
    Ok(Exit::Ok)
}

/// What was written, for people.
fn document(manifest: &Manifest, place: &str, is_known: bool) -> Document {
    let mut table = Table::new(&[
        ("Table", Align::Left),
        ("Rows", Align::Right),
        ("Bytes", Align::Right),
    ]);
    let count = |number: u64| units::count(i64::try_from(number).unwrap_or(i64::MAX));
    for written in &manifest.tables {
        table.push(vec![
            written.name.clone(),
            count(written.rows),
            count(written.bytes),
        ]);
    }
    let note = if is_known {
        "They were there already, derived by the same rules from the same files; --force derives them again."
    } else {
        "Queries read them as long as the trace and the rules are the same."
    };
    Document {
        title: format!("Derived tables: {place}"),
        sections: vec![Section {
            title: "Tables".to_owned(),
            blocks: vec![Block::Table(table), Block::Text(note.to_owned())],
        }],
    }
}
