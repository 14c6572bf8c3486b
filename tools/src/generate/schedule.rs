//! What happens when: copies of recordings one after the other in several lanes, and beside them what no small
//! cluster has.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use anyhow::Context;

use super::GenerateOptions;
use super::renaming::Tag;
use super::template::{Part, Template};

/// Pause between the copies of a lane.
const PAUSE_NS: i64 = 1_000_000_000;
/// From one Pod of the large ReplicaSet to the next, and from one Service to the next.
const POD_SPACING_NS: i64 = 2_000_000;
const SERVICE_SPACING_NS: i64 = 20_000_000;
/// Pods that become ready between two updates of the large ReplicaSet's status.
const PODS_PER_STATUS: u32 = 50;

/// A step that is due.
#[derive(Debug, Clone)]
pub(super) struct Due {
    /// Nanoseconds since the trace began.
    pub(super) at: i64,
    /// Nanoseconds that the step's times are later than recorded, from the recording's begin.
    pub(super) shift: i64,
    /// Number of the template, and of its step.
    pub(super) template: usize,
    pub(super) step: usize,
    /// What its objects are called.
    pub(super) tag: Tag,
}

/// Some steps in their order, for one copy of their objects.
#[derive(Debug)]
struct Run {
    template: usize,
    steps: Rc<[usize]>,
    position: usize,
    /// When the recording's first change would be, nanoseconds since the trace began.
    begins: i64,
    tag: Tag,
    then: Then,
}

/// What follows a run.
#[derive(Debug, Clone, Copy)]
enum Then {
    Nothing,
    /// The next copy in this lane.
    NextCopy,
}

/// Something that starts runs at regular intervals.
#[derive(Debug)]
struct Repetition {
    template: usize,
    steps: Rc<[usize]>,
    part: Option<Rc<Part>>,
    /// Whether each run is one step, the next of `steps`, or all of them.
    is_single: bool,
    copy: u32,
    number: u32,
    count: u32,
    begins: i64,
    spacing: i64,
    /// Whether labels and selectors are the object's own.
    has_own_labels: bool,
}

#[derive(Debug)]
enum Entry {
    Run(Run),
    Repetition(Repetition),
}

/// The entries in the order of their times.
#[derive(Debug)]
pub(super) struct Schedule<'a> {
    templates: &'a [Template],
    whole: Vec<Rc<[usize]>>,
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    queue: BinaryHeap<Reverse<(i64, u64, usize)>>,
    sequence: u64,
    copies: u32,
}

impl<'a> Schedule<'a> {
    pub(super) fn new(
        templates: &'a [Template],
        options: &GenerateOptions,
    ) -> anyhow::Result<Self> {
        let mut schedule = Self {
            templates,
            whole: templates
                .iter()
                .map(|template| (0..template.steps.len()).collect())
                .collect(),
            entries: Vec::new(),
            free: Vec::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
            copies: 0,
        };
        for lane in 0..options.concurrency {
            // Lanes begin one after the other.
            let pause = templates.iter().map(Template::duration).max().unwrap_or(0);
            let stagger = pause / i64::from(options.concurrency) * i64::from(lane);
            schedule.start_copy(whole_seconds(stagger));
        }
        let mut extra = 0;
        extra += schedule.add_pods(options)?;
        extra += schedule.add_services(options)?;
        schedule.add_revisions(options, extra)?;
        Ok(schedule)
    }

    /// Nanoseconds until the lanes have made what is left of the changes.
    fn length(&self, options: &GenerateOptions, extra: u64) -> i64 {
        let (steps, duration) = self.templates.iter().fold((0, 0), |(steps, time), next| {
            (steps + next.steps.len(), time + next.duration() + PAUSE_NS)
        });
        let of_lanes = options.changes.saturating_sub(extra);
        let rounds = of_lanes as f64 / (steps.max(1) as f64 * f64::from(options.concurrency));
        // A benchmark's trace is shorter than 292 years.
        #[allow(clippy::cast_possible_truncation)]
        let length = (rounds * duration as f64) as i64;
        length
    }

    /// The first recording that has a shape, and the shape.
    fn find<T>(
        &self,
        what: &str,
        shape: impl Fn(&Template) -> Option<T>,
    ) -> anyhow::Result<(usize, T)> {
        let mut shapes = self.templates.iter().map(shape).enumerate();
        shapes
            .find_map(|(number, found)| Some((number, found?)))
            .with_context(|| format!("no recording has {what}"))
    }

    /// A ReplicaSet with very many Pods. Answers with the number of changes.
    fn add_pods(&mut self, options: &GenerateOptions) -> anyhow::Result<u64> {
        if options.owner_pods == 0 {
            return Ok(0);
        }
        let (template, (part, owners, status)) = self.find(
            "a Pod of a ReplicaSet that becomes ready",
            Template::pod_of_replica_set,
        )?;
        let copy = self.next_copy();
        let begins = whole_seconds(self.length(options, 0) / 10);
        let updates = options.owner_pods / PODS_PER_STATUS;
        let made = owners.len() as u64
            + u64::from(updates)
            + u64::from(options.owner_pods) * part.steps.len() as u64;
        self.push(Entry::Run(Run {
            template,
            steps: owners.into(),
            position: 0,
            begins,
            tag: Tag::whole(copy),
            then: Then::Nothing,
        }));
        self.push(Entry::Repetition(Repetition {
            template,
            steps: part.steps.clone().into(),
            part: Some(Rc::new(part)),
            is_single: false,
            copy,
            number: 0,
            count: options.owner_pods,
            begins: begins + PAUSE_NS,
            spacing: POD_SPACING_NS,
            has_own_labels: false,
        }));
        self.push(Entry::Repetition(Repetition {
            template,
            steps: status.into(),
            part: None,
            is_single: true,
            copy,
            number: 0,
            count: updates,
            // The first Pods are ready by then.
            begins: begins + 3 * PAUSE_NS,
            spacing: POD_SPACING_NS * i64::from(PODS_PER_STATUS),
            has_own_labels: false,
        }));
        Ok(made)
    }

    /// Very many Services in one namespace. Answers with the number of changes.
    fn add_services(&mut self, options: &GenerateOptions) -> anyhow::Result<u64> {
        if options.services == 0 {
            return Ok(0);
        }
        let (template, part) = self.find("a Service with a selector", Template::service)?;
        let copy = self.next_copy();
        let made = u64::from(options.services) * part.steps.len() as u64;
        self.push(Entry::Repetition(Repetition {
            template,
            steps: part.steps.clone().into(),
            part: Some(Rc::new(part)),
            is_single: false,
            copy,
            number: 0,
            count: options.services,
            begins: whole_seconds(self.length(options, 0) / 5),
            spacing: SERVICE_SPACING_NS,
            has_own_labels: true,
        }));
        Ok(made)
    }

    /// An object with very many revisions, all through the trace.
    fn add_revisions(&mut self, options: &GenerateOptions, others: u64) -> anyhow::Result<()> {
        if options.object_revisions == 0 {
            return Ok(());
        }
        let (template, (created, updates)) =
            self.find("an object that is updated", Template::busiest)?;
        let copy = self.next_copy();
        let count = options.object_revisions;
        let length = self.length(options, others + u64::from(count));
        self.push(Entry::Run(Run {
            template,
            steps: created.into(),
            position: 0,
            begins: 0,
            tag: Tag::whole(copy),
            then: Then::Nothing,
        }));
        self.push(Entry::Repetition(Repetition {
            template,
            steps: updates.into(),
            part: None,
            is_single: true,
            copy,
            number: 0,
            count,
            begins: whole_seconds(length / 50) + PAUSE_NS,
            // It is done before the lanes are.
            spacing: (length / 10 * 9 / i64::from(count)).max(1),
            has_own_labels: false,
        }));
        Ok(())
    }

    fn next_copy(&mut self) -> u32 {
        self.copies += 1;
        self.copies
    }

    /// Begins a copy of the next recording at `begins`.
    fn start_copy(&mut self, begins: i64) {
        let copy = self.next_copy();
        let template = copy as usize % self.templates.len();
        let Some(steps) = self.whole.get(template) else {
            return;
        };
        self.push(Entry::Run(Run {
            template,
            steps: Rc::clone(steps),
            position: 0,
            begins,
            tag: Tag::whole(copy),
            then: Then::NextCopy,
        }));
    }

    /// When a step happens in its recording.
    fn after(&self, template: usize, step: usize) -> i64 {
        let template = self.templates.get(template);
        template
            .and_then(|template| template.steps.get(step))
            .map_or(0, |step| step.after)
    }

    /// Takes an entry in; one that has nothing to do any more is dropped.
    fn push(&mut self, entry: Entry) {
        let at = match &entry {
            Entry::Run(run) => {
                let step = run.steps.get(run.position);
                step.map(|step| run.begins + self.after(run.template, *step))
            }
            Entry::Repetition(repetition) => (repetition.number < repetition.count
                && !repetition.steps.is_empty())
            .then(|| repetition.begins + i64::from(repetition.number) * repetition.spacing),
        };
        let Some(at) = at else {
            return;
        };
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.entries.push(None);
                self.entries.len() - 1
            }
        };
        if let Some(slot) = self.entries.get_mut(place) {
            *slot = Some(entry);
        }
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, place)));
    }

    /// The next step; `None` when nothing is left.
    pub(super) fn next(&mut self) -> Option<Due> {
        loop {
            let Reverse((at, _, place)) = self.queue.pop()?;
            let entry = self.entries.get_mut(place)?.take()?;
            self.free.push(place);
            match entry {
                Entry::Run(run) => return Some(self.advance(run, at)),
                Entry::Repetition(repetition) => {
                    if let Some(due) = self.repeat(repetition, at) {
                        return Some(due);
                    }
                }
            }
        }
    }

    fn advance(&mut self, mut run: Run, at: i64) -> Due {
        let due = Due {
            at,
            shift: run.begins,
            template: run.template,
            step: run.steps.get(run.position).copied().unwrap_or(0),
            tag: run.tag.clone(),
        };
        run.position += 1;
        if run.position < run.steps.len() {
            self.push(Entry::Run(run));
        } else if let Then::NextCopy = run.then {
            self.start_copy(whole_seconds(at + 2 * PAUSE_NS));
        }
        due
    }

    /// Starts the next run of a repetition, or makes its next step.
    fn repeat(&mut self, mut repetition: Repetition, at: i64) -> Option<Due> {
        let number = repetition.number;
        let steps = Rc::clone(&repetition.steps);
        let (template, copy) = (repetition.template, repetition.copy);
        let tag = match &repetition.part {
            Some(part) => Tag::member(copy, number + 1, part, repetition.has_own_labels),
            None => Tag::again(copy, number + 1),
        };
        let is_single = repetition.is_single;
        repetition.number += 1;
        self.push(Entry::Repetition(repetition));
        if is_single {
            let step = *steps.get(number as usize % steps.len().max(1))?;
            return Some(Due {
                at,
                shift: at - self.after(template, step),
                template,
                step,
                tag,
            });
        }
        let first = self.after(template, *steps.first()?);
        self.push(Entry::Run(Run {
            template,
            steps,
            position: 0,
            begins: at - first,
            tag,
            then: Then::Nothing,
        }));
        None
    }
}

/// The last whole second: managers' times have no finer ones, and stay in the second of the change.
fn whole_seconds(nanos: i64) -> i64 {
    nanos.div_euclid(1_000_000_000) * 1_000_000_000
}
