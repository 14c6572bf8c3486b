//! Which sections a report has.

use clap::ValueEnum;

/// A section that can be asked for; completeness is always there, for without it no number can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Section {
    /// What happened, by kind and actor.
    Changes,
    /// How long etcd took to answer calls that write.
    WriteLatency,
    /// How long objects took from one stage of their life to another.
    Stages,
    /// Who carries CPIDs, and who loses them.
    Coverage,
    /// Where the time goes between a change and what it sets off, and how far clocks are apart.
    Hops,
}

/// The sections asked for; none means all that do not need the causes.
#[derive(Debug, Clone, Default)]
pub struct Sections(Vec<Section>);

impl Sections {
    /// These, or if there are none all but [`Section::Hops`].
    #[must_use]
    pub fn of(named: Vec<Section>) -> Self {
        Self(named)
    }

    /// Whether a section was asked for, by its name or as one of all.
    #[must_use]
    pub fn has(&self, section: Section) -> bool {
        (self.0.is_empty() && section != Section::Hops) || self.is_named(section)
    }

    /// Whether a section was asked for by its name.
    #[must_use]
    pub fn is_named(&self, section: Section) -> bool {
        self.0.contains(&section)
    }
}
