//! Findings.

use std::collections::BTreeMap;

use serde::Serialize;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It does not work, or what is recorded is not what is meant.
    Error,
    /// It works, and should be mended.
    Warning,
    /// It works; this may be wanted or not.
    Hint,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Files of certificates, keys and CAs: dates, names, key usage, chains.
    Certificates,
    /// Whether strangers would get the rights of our client certificate.
    Exposure,
    /// Every member of etcd.
    Reachability,
    /// That all members are of one cluster.
    Cluster,
    /// Versions of the members.
    Version,
    /// This host's clock and those of the members.
    Clock,
    /// That all keys may be read.
    Permissions,
    /// That everything is kept in this etcd.
    Keys,
    /// Values that are encrypted at rest.
    Encryption,
    /// That kube-apiserver goes through the interceptor.
    Path,
    /// What the trace folder is.
    TraceFolder,
    /// Free space for the trace.
    Disk,
    /// The limit on open files.
    OpenFiles,
    /// kube-apiserver's spans.
    RequestTracing,
}

impl Check {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 14] = [
        Self::Certificates,
        Self::Exposure,
        Self::Reachability,
        Self::Cluster,
        Self::Version,
        Self::Clock,
        Self::Permissions,
        Self::Keys,
        Self::Encryption,
        Self::Path,
        Self::TraceFolder,
        Self::Disk,
        Self::OpenFiles,
        Self::RequestTracing,
    ];

    /// Its name in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Certificates => "certificates",
            Self::Exposure => "who gets in",
            Self::Reachability => "reachability of etcd",
            Self::Cluster => "one cluster",
            Self::Version => "etcd's version",
            Self::Clock => "clock",
            Self::Permissions => "permission to read",
            Self::Keys => "all keys are here",
            Self::Encryption => "encryption at rest",
            Self::Path => "kube-apiserver goes through",
            Self::TraceFolder => "trace folder",
            Self::Disk => "disk",
            Self::OpenFiles => "open files",
            Self::RequestTracing => "request tracing",
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was looked at.
    pub check: Check,
    /// Where: a flag and its file, a member, a process.
    #[serde(rename = "where")]
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was found.
    Good,
    /// There are findings of it.
    Found,
    /// It was not looked at, or not at all of it, and nothing was found in the rest. The reasons.
    NotChecked(Vec<String>),
}

/// Everything that was found and looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    findings: Vec<Finding>,
    not_checked: BTreeMap<Check, Vec<String>>,
}

impl Report {
    /// Adds a finding.
    pub(super) fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Notes that something could not be looked at, and why.
    pub(super) fn not_checked(&mut self, check: Check, reason: impl Into<String>) {
        let reasons = self.not_checked.entry(check).or_default();
        let reason = reason.into();
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }

    /// Findings, the worst first.
    #[must_use]
    pub fn findings(&self) -> Vec<&Finding> {
        let mut findings: Vec<_> = self.findings.iter().collect();
        findings.sort_by_key(|finding| (finding.severity, finding.check));
        findings
    }

    /// What came of a check.
    #[must_use]
    pub fn outcome(&self, check: Check) -> Outcome {
        if self.findings.iter().any(|finding| finding.check == check) {
            return Outcome::Found;
        }
        match self.not_checked.get(&check) {
            None => Outcome::Good,
            Some(reasons) => Outcome::NotChecked(reasons.clone()),
        }
    }

    /// Number of findings of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        let findings = self.findings.iter();
        findings
            .filter(|finding| finding.severity == severity)
            .count()
    }
}
