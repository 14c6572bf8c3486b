//! A recording in memory, ready to be copied.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;

use anyhow::{Context, ensure};
use cascade_interceptor::store::read_table;
use cascade_proto::tables::{Call, CallOutcome, Change, Op, Request, RequestCall, Table};

/// One change, with the call and the request behind it.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// Nanoseconds since the first change of the recording.
    pub(super) after: i64,
    pub(super) change: Change,
    pub(super) call: Option<Call>,
    pub(super) request: Option<(Request, RequestCall)>,
}

/// A recording.
#[derive(Debug)]
pub(super) struct Template {
    /// In revision order.
    pub(super) steps: Vec<Step>,
    /// When its first change was seen, nanoseconds since 1970.
    pub(super) began: i64,
}

/// A part of a recording.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    /// Numbers of steps, ascending.
    pub(super) steps: Vec<usize>,
    /// uids of the objects that there are many of.
    pub(super) members: HashSet<String>,
    /// Their namespaces and names.
    pub(super) names: HashSet<(String, String)>,
}

impl Template {
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut calls: HashMap<(i64, String), Call> = HashMap::new();
        for call in rows::<Call>(folder)? {
            if let (CallOutcome::Committed, Some(revision), Some(key)) =
                (call.outcome, call.revision, &call.key)
            {
                calls.insert((revision, key.clone()), call);
            }
        }
        let links: HashMap<(String, String), RequestCall> = rows::<RequestCall>(folder)?
            .into_iter()
            .map(|link| ((link.trace_id.clone(), link.call_span_id.clone()), link))
            .collect();
        let requests: HashMap<(String, String), Request> = rows::<Request>(folder)?
            .into_iter()
            .map(|request| ((request.trace_id.clone(), request.span_id.clone()), request))
            .collect();
        let mut changes = rows::<Change>(folder)?;
        changes.sort_by_key(|change| (change.epoch, change.revision, change.ordinal));
        let began = changes
            .first()
            .and_then(|change| change.seen)
            .context("there is no change with a time")?
            .unix_nano;
        let mut steps: Vec<Step> = Vec::with_capacity(changes.len());
        for change in changes {
            ensure!(
                change.revision_size == 1,
                "revision {} is of several keys, which copies cannot be",
                change.revision
            );
            let seen = change.seen.map_or(0, |seen| seen.unix_nano - began);
            let before = steps.last().map_or(0, |step| step.after);
            let call = calls.remove(&(change.revision, change.key.clone()));
            let request = call.as_ref().and_then(|call| {
                let (trace, span) = (call.trace_id.clone()?, call.span_id.clone()?);
                let link = links.get(&(trace.clone(), span))?;
                let request = requests.get(&(trace, link.request_span_id.clone()))?;
                Some((request.clone(), link.clone()))
            });
            steps.push(Step {
                after: seen.max(before),
                change,
                call,
                request,
            });
        }
        Ok(Self { steps, began })
    }

    /// Nanoseconds from its first change to its last.
    pub(super) fn duration(&self) -> i64 {
        self.steps.last().map_or(0, |step| step.after)
    }

    fn part(&self, of: impl Fn(&Change) -> bool) -> Vec<usize> {
        let numbered = self.steps.iter().enumerate();
        numbered
            .filter(|(_, step)| of(&step.change))
            .map(|(number, _)| number)
            .collect()
    }

    /// The life of one Pod of a ReplicaSet until it is ready, with its Events: the part that is repeated. Before
    /// that, what made its owners, and the owner's status while pods became ready.
    pub(super) fn pod_of_replica_set(&self) -> Option<(Part, Vec<usize>, Vec<usize>)> {
        let uid = |change: &Change| change.object.uid.clone().unwrap_or_default();
        let is_pod_of = |change: &Change| {
            change.object.kind.as_deref() == Some("Pod") && owner(change, "ReplicaSet").is_some()
        };
        let (ready, step) = self.steps.iter().enumerate().find(|(_, step)| {
            is_pod_of(&step.change)
                && changed(&step.change, "conditions.Ready")
                && step.change.op == Op::Update
        })?;
        let pod = uid(&step.change);
        let replica_set = owner(&step.change, "ReplicaSet")?;
        let end = self.steps.get(ready)?.after + 1;
        let is_early =
            |number: &usize| self.steps.get(*number).is_some_and(|step| step.after < end);
        let steps: Vec<usize> = self
            .part(|change| uid(change) == pod || tells_of(change, &pod))
            .into_iter()
            .filter(is_early)
            .collect();
        let begin = *steps.first()?;
        let status = self.part(|change| {
            uid(change) == replica_set && change.op == Op::Update && changed(change, "status")
        });
        let replica_set_steps = self.part(|change| uid(change) == replica_set);
        let deployment = replica_set_steps
            .iter()
            .filter_map(|number| owner(&self.steps.get(*number)?.change, "Deployment"))
            .next()
            .unwrap_or_default();
        let owners = self
            .part(|change| uid(change) == replica_set || uid(change) == deployment)
            .into_iter()
            .filter(|number| *number < begin)
            .collect();
        Some((self.repeated(steps), owners, status))
    }

    /// One Service with its Endpoints and EndpointSlices.
    pub(super) fn service(&self) -> Option<Part> {
        let service = self.steps.iter().map(|step| &step.change).find(|change| {
            change.object.kind.as_deref() == Some("Service")
                && change.op == Op::Create
                && change.object.selector.is_some()
        })?;
        let uid = service.object.uid.clone()?;
        let (namespace, name) = (
            service.object.namespace.clone(),
            service.object.name.clone(),
        );
        let steps = self.part(|change| {
            let object = &change.object;
            object.uid.as_ref() == Some(&uid)
                || (object.kind.as_deref() == Some("Endpoints")
                    && object.namespace == namespace
                    && object.name == name)
                || owner(change, "Service").as_ref() == Some(&uid)
        });
        Some(self.repeated(steps))
    }

    /// The object that was updated most, heartbeats aside: what made it, and its updates.
    pub(super) fn busiest(&self) -> Option<(Vec<usize>, Vec<usize>)> {
        let mut updates: HashMap<&str, usize> = HashMap::new();
        for step in &self.steps {
            let object = &step.change.object;
            let kind = object.kind.as_deref().unwrap_or_default();
            let is_heartbeat = matches!(kind, "Node" | "Lease" | "Event");
            if let (Op::Update, Some(uid), false) = (step.change.op, &object.uid, is_heartbeat) {
                *updates.entry(uid).or_default() += 1;
            }
        }
        let (busiest, _) = updates
            .into_iter()
            .max_by(|left, right| left.1.cmp(&right.1).then(right.0.cmp(left.0)))?;
        let of = |op: Op| {
            self.part(|change| change.op == op && change.object.uid.as_deref() == Some(busiest))
        };
        Some((of(Op::Create), of(Op::Update)))
    }

    /// A part all of whose objects there are many of.
    fn repeated(&self, steps: Vec<usize>) -> Part {
        let mut part = Part::default();
        for step in steps.iter().filter_map(|step| self.steps.get(*step)) {
            let object = &step.change.object;
            part.members.extend(object.uid.clone());
            part.names
                .extend(object.namespace.clone().zip(object.name.clone()));
        }
        Part { steps, ..part }
    }
}

fn rows<T: Table>(folder: &Path) -> anyhow::Result<Vec<T>> {
    let mut rows = Vec::new();
    read_table(folder, None, |row: T| {
        rows.push(row);
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

/// uid of the owner of a kind.
fn owner(change: &Change, kind: &str) -> Option<String> {
    let owners = change.object.owners.as_deref()?;
    owners
        .iter()
        .find(|owner| owner.kind == kind)
        .map(|owner| owner.uid.clone())
}

fn changed(change: &Change, what: &str) -> bool {
    let changed = change.changed.as_deref().unwrap_or_default();
    changed.iter().any(|entry| entry == what)
}

/// Whether it is an Event about an object.
fn tells_of(change: &Change, uid: &str) -> bool {
    change.object.kind.as_deref() == Some("Event")
        && change
            .object
            .related_uids
            .as_deref()
            .is_some_and(|related| related.iter().any(|other| other == uid))
}
