//! A line of JSON for every merge and every write: what the operator itself says that it did. It is
//! what a trace can be checked against, object by object and revision by revision.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cascade_cpid::ChangeContext;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::carrier::context_of;
use crate::inputs::Triggers;

/// See the module.
pub(crate) struct WriteLog(Mutex<Box<dyn Write + Send>>);

/// A write and how it ended.
pub(crate) struct Written<'a> {
    /// `apply`, `finalizer`, `status` or `delete`.
    pub(crate) verb: &'static str,
    pub(crate) kind: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    /// What the object carried before, as far as the operator knew.
    pub(crate) before: Option<&'a ChangeContext>,
    /// The CPID that went along with the request.
    pub(crate) sent: Option<&'a ChangeContext>,
    pub(crate) sources: Vec<&'a str>,
    /// `resourceVersion`s of all that the reconcile has read since the one before.
    pub(crate) inputs: Vec<&'a str>,
    pub(crate) triggers: Triggers,
}

impl WriteLog {
    /// A log that is appended to a file, or goes to stdout.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        let output: Box<dyn Write + Send> = match path {
            Some(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
            None => Box::new(io::stdout()),
        };
        Ok(Self::to(output))
    }

    pub(crate) fn to(output: Box<dyn Write + Send>) -> Self {
        Self(Mutex::new(output))
    }

    /// A new CPID was made of several.
    pub(crate) fn merged(&self, context: &ChangeContext, source_cpids: &[String]) {
        self.line(json!({
            "event": "merge", "cpid": context.cpid, "ancestors": context.ancestors, "sources": source_cpids,
        }));
    }

    /// kube-apiserver has answered a write with an object. Its `resourceVersion` is the revision
    /// in etcd, except if nothing has changed: then it is that of an earlier write.
    pub(crate) fn written(
        &self,
        written: &Written<'_>,
        result: &impl ResourceExt,
        unchanged: bool,
    ) {
        let after = context_of(result);
        let mut line = written.line();
        line["event"] = json!(if unchanged { "unchanged" } else { "write" });
        line["uid"] = json!(result.uid());
        line["resourceVersion"] = json!(result.resource_version());
        line["generation"] = json!(result.meta().generation);
        line["cpid"] = json!(after.as_ref().map(|context| &context.cpid));
        line["ancestors"] = json!(after.as_ref().map(|context| &context.ancestors));
        line["transition"] = json!(transition(written.before, after.as_ref()));
        self.line(line);
    }

    /// kube-apiserver has answered a deletion, whose revision it does not tell; the watch does
    /// ([`WriteLog::gone`]).
    pub(crate) fn deleted(&self, written: &Written<'_>, uid: Option<&str>) {
        let mut line = written.line();
        line["event"] = json!("write");
        line["uid"] = json!(uid);
        line["transition"] = json!(written.before.map(|_| "end"));
        self.line(line);
    }

    /// A watch says that an object is gone, whoever deleted it. In such an event `resourceVersion`
    /// is the revision of the deletion.
    pub(crate) fn gone(&self, kind: &str, object: &impl ResourceExt) {
        self.line(json!({
            "event": "gone", "kind": kind, "namespace": object.namespace(), "name": object.name_any(),
            "uid": object.uid(), "resourceVersion": object.resource_version(),
            "cpid": context_of(object).map(|context| context.cpid),
        }));
    }

    /// A write was refused because the object had changed meanwhile.
    pub(crate) fn conflict(&self, written: &Written<'_>) {
        let mut line = written.line();
        line["event"] = json!("conflict");
        self.line(line);
    }

    fn line(&self, mut line: Value) {
        line["time"] = json!(Timestamp::now().to_string());
        // Several processes may append to one file: a line is one write, or theirs would come in between.
        let text = format!("{line}\n");
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = output.write_all(text.as_bytes());
        if let Err(error) = written.and_then(|()| output.flush()) {
            tracing::error!(%error, %line, "cannot write to the log of writes");
        }
    }
}

impl Written<'_> {
    fn line(&self) -> Value {
        let mut line = json!({
            "verb": self.verb, "kind": self.kind, "namespace": self.namespace, "name": self.name,
            "previousCpid": self.before.map(|context| &context.cpid),
            "sentCpid": self.sent.map(|context| &context.cpid), "sources": self.sources,
            "inputs": self.inputs,
        });
        self.triggers.add_to(&mut line);
        line
    }
}

/// What a write has done to the CPID of an object that continues to exist.
fn transition(
    before: Option<&ChangeContext>,
    after: Option<&ChangeContext>,
) -> Option<&'static str> {
    match (before, after) {
        (None, None) => None,
        (None, Some(_)) => Some("set"),
        (Some(_), None) => Some("drop"),
        (Some(before), Some(after)) if before.cpid == after.cpid => Some("carry"),
        (Some(before), Some(after)) if after.ancestors.contains(&before.cpid) => Some("merge"),
        (Some(_), Some(_)) => Some("replace"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions() {
        let context = |cpid: &str, ancestors: &[&str]| ChangeContext {
            cpid: cpid.to_owned(),
            ancestors: ancestors.iter().map(|text| (*text).to_owned()).collect(),
        };
        let (old, same) = (context("a", &[]), context("a", &["z"]));
        let (newer, other) = (context("b", &["c", "a"]), context("d", &["b"]));
        assert_eq!(transition(None, None), None);
        assert_eq!(transition(None, Some(&old)), Some("set"));
        assert_eq!(transition(Some(&old), None), Some("drop"));
        assert_eq!(transition(Some(&old), Some(&same)), Some("carry"));
        assert_eq!(transition(Some(&old), Some(&newer)), Some("merge"));
        assert_eq!(transition(Some(&old), Some(&other)), Some("replace"));
    }
}
