//! Stages over small histories; every expected duration is worked out by hand.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use cascade_analyzer::session::{EngineOptions, Session};

use crate::support::history::{
    History, Rollout, deployment, existing, in_phase, pod, running, scheduled, service, slice,
};
use crate::support::{TraceFolder, gap};

const MILLISECOND: i64 = 1_000_000;

/// `(stage, name, generation, milliseconds or why there are none)` of every step in a trace.
async fn steps(folder: &TraceFolder) -> Vec<(String, String, Option<i64>, String)> {
    let session = Session::open(&[folder.argument()], &EngineOptions::default())
        .await
        .unwrap();
    let sql = "SELECT stage, name, generation, duration_ns, excluded FROM stage_durations \
               ORDER BY stage, name, generation";
    let mut steps = Vec::new();
    for batch in session.query(sql).await.unwrap() {
        let text = |column: usize, row: usize| {
            let texts =
                arrow::compute::cast(batch.column(column), &arrow::datatypes::DataType::Utf8);
            texts.unwrap().as_string::<i32>().value(row).to_owned()
        };
        let integer = |column: usize, row: usize| {
            let integers = batch.column(column).as_primitive::<Int64Type>().clone();
            arrow::array::Array::is_valid(&integers, row).then(|| integers.value(row))
        };
        for row in 0..batch.num_rows() {
            let outcome = match integer(3, row) {
                Some(duration) => {
                    assert_eq!(duration % MILLISECOND, 0);
                    (duration / MILLISECOND).to_string()
                }
                None => text(4, row),
            };
            steps.push((text(0, row), text(1, row), integer(2, row), outcome));
        }
    }
    steps
}

/// The steps of one object, as `stage outcome`, generations as `stage#generation outcome`.
async fn steps_of(folder: &TraceFolder, name: &str) -> Vec<String> {
    let all = steps(folder).await;
    all.into_iter()
        .filter(|(_, object, _, _)| object == name)
        .map(|(stage, _, generation, outcome)| match generation {
            Some(generation) => format!("{stage}#{generation} {outcome}"),
            None => format!("{stage} {outcome}"),
        })
        .collect()
}

fn written(history: &History) -> TraceFolder {
    let mut folder = TraceFolder::new();
    folder.write(&history.changes);
    folder
}

#[tokio::test]
async fn a_pod_counts_from_the_first_time_it_was_in_each_stage() {
    let mut history = History::after(1);
    let web = pod("web");
    let created = history.create(1_000, web.clone());
    let bound = history.update(1_010, &created, scheduled(&web));
    let started = history.update(1_300, &bound, running(&web, false));
    let ready = history.update(1_450, &started, running(&web, true));
    let unready = history.update(2_000, &ready, running(&web, false));
    history.update(3_000, &unready, running(&web, true));
    assert_eq!(
        steps_of(&written(&history), "web").await,
        [
            "pod.created_to_ready 450",
            "pod.created_to_running 300",
            "pod.created_to_scheduled 10",
            "pod.running_to_ready 150",
            "pod.scheduled_to_running 290",
        ]
    );
}

#[tokio::test]
async fn stages_reached_in_one_write_take_no_time() {
    let mut history = History::after(1);
    let web = pod("web");
    // A Pod that names its node itself, made ready in one status write, as kwok does.
    let created = history.create(1_000, scheduled(&web));
    history.update(1_200, &created, running(&web, true));
    assert_eq!(
        steps_of(&written(&history), "web").await,
        [
            "pod.created_to_ready 200",
            "pod.created_to_running 200",
            "pod.created_to_scheduled 0",
            "pod.running_to_ready 0",
            "pod.scheduled_to_running 200",
        ]
    );
}

#[tokio::test]
async fn the_reason_is_told_for_pods_that_did_not_get_there() {
    let mut history = History::after(1);
    let pending = pod("pending");
    history.create(1_000, pending);
    let gone = pod("gone");
    let created = history.create(1_000, gone.clone());
    let bound = history.update(1_005, &created, scheduled(&gone));
    history.delete(1_500, &bound);
    let job = pod("job");
    let created = history.create(1_000, job.clone());
    let bound = history.update(1_005, &created, scheduled(&job));
    let started = history.update(1_100, &bound, in_phase(&job, "Running"));
    history.update(1_200, &started, in_phase(&job, "Succeeded"));
    let folder = written(&history);
    assert_eq!(
        steps_of(&folder, "pending").await,
        [
            "pod.created_to_ready not_reached",
            "pod.created_to_running not_reached",
            "pod.created_to_scheduled not_reached",
            "pod.running_to_ready not_reached",
            "pod.scheduled_to_running not_reached",
        ]
    );
    assert_eq!(
        steps_of(&folder, "gone").await,
        [
            "pod.created_to_ready deleted",
            "pod.created_to_running deleted",
            "pod.created_to_scheduled 5",
            "pod.running_to_ready deleted",
            "pod.scheduled_to_running deleted",
        ]
    );
    assert_eq!(
        steps_of(&folder, "job").await,
        [
            "pod.created_to_ready finished",
            "pod.created_to_running 100",
            "pod.created_to_scheduled 5",
            "pod.running_to_ready finished",
            "pod.scheduled_to_running 95",
        ]
    );
}

#[tokio::test]
async fn a_pod_that_existed_counts_only_for_what_the_trace_saw_of_it() {
    let mut history = History::after(10);
    let web = pod("web");
    let (state, before) = existing(10, 2, scheduled(&web));
    let started = history.update(1_000, &before, running(&web, false));
    history.update(1_250, &started, running(&web, true));
    let (idle, _) = existing(10, 7, running(&pod("idle"), true));
    let mut folder = written(&history);
    folder.write(&[state, idle]);
    assert_eq!(
        steps_of(&folder, "web").await,
        [
            "pod.created_to_ready before_trace",
            "pod.created_to_running before_trace",
            "pod.created_to_scheduled before_trace",
            "pod.running_to_ready 250",
            "pod.scheduled_to_running before_trace",
        ]
    );
    let idle = steps_of(&folder, "idle").await;
    assert_eq!(idle.len(), 5);
    assert!(
        idle.iter().all(|step| step.ends_with(" before_trace")),
        "{idle:?}"
    );
}

#[tokio::test]
async fn no_time_is_invented_across_a_gap() {
    let mut history = History::after(1);
    let web = pod("web");
    let created = history.create(1_000, web.clone());
    // Two writes of the Pod are lost: it may have been running since either of them.
    history.skip(2);
    let mut lost = created.clone();
    lost.version = Some(3);
    history.update(5_000, &lost, running(&web, true));
    // And one Pod is created in the gap; the snapshot after it shows that it runs.
    let (state, before) = existing(5, 3, running(&pod("lost"), true));
    history.update(6_000, &before, running(&pod("lost"), true));
    let mut folder = written(&history);
    folder.write(&[state]);
    folder.write(&[gap(3, 4)]);
    assert_eq!(
        steps_of(&folder, "web").await,
        [
            "pod.created_to_ready not_observed",
            "pod.created_to_running not_observed",
            "pod.created_to_scheduled not_observed",
            "pod.running_to_ready not_observed",
            "pod.scheduled_to_running not_observed",
        ]
    );
    let lost = steps_of(&folder, "lost").await;
    assert!(
        lost.iter().all(|step| step.ends_with(" not_observed")),
        "{lost:?}"
    );
}

#[tokio::test]
async fn a_name_that_is_used_again_is_another_pod() {
    let mut history = History::after(1);
    let web = pod("web");
    let first = history.create(1_000, web.clone());
    let bound = history.update(1_001, &first, scheduled(&web));
    history.delete(1_500, &bound);
    let second = history.create(2_000, web.clone());
    history.update(2_007, &second, scheduled(&web));
    let steps = steps_of(&written(&history), "web").await;
    let mut scheduling: Vec<&String> = steps
        .iter()
        .filter(|step| step.starts_with("pod.created_to_scheduled"))
        .collect();
    scheduling.sort();
    assert_eq!(
        scheduling,
        ["pod.created_to_scheduled 1", "pod.created_to_scheduled 7"]
    );
}

#[tokio::test]
async fn a_clock_that_went_back_gives_no_duration() {
    let mut history = History::after(1);
    let web = pod("web");
    let created = history.create(2_000, web.clone());
    history.update(1_000, &created, scheduled(&web));
    let steps = steps_of(&written(&history), "web").await;
    assert!(
        steps.contains(&"pod.created_to_scheduled out_of_order".to_owned()),
        "{steps:?}"
    );
}

#[tokio::test]
async fn a_generation_is_ready_when_nothing_of_an_older_one_is_left() {
    let of = |generation, observed, replicas, updated, ready, available| {
        deployment(
            "web",
            Rollout {
                generation,
                observed,
                wanted: 2,
                replicas,
                updated,
                ready,
                available,
            },
        )
    };
    let mut history = History::after(1);
    let mut last = history.create(1_000, of(1, 0, 0, 0, 0, 0));
    let writes = [
        (1_100, of(1, 1, 2, 2, 1, 1)),
        (1_400, of(1, 1, 2, 2, 2, 2)), // generation 1 is ready after 400 ms
        (2_000, of(2, 1, 2, 2, 2, 2)), // asked for; the controller has not seen it
        (2_050, of(2, 2, 3, 1, 2, 2)),
        (3_000, of(3, 2, 3, 1, 2, 2)), // superseded
        (3_100, of(3, 3, 3, 2, 2, 2)), // one of the ready ones is old
        (3_500, of(3, 3, 2, 2, 2, 1)), // not available for long enough
        (3_900, of(3, 3, 2, 2, 2, 2)), // generation 3 is ready after 900 ms
        (5_000, of(3, 3, 2, 2, 1, 1)), // what happens later does not count
        (5_500, of(3, 3, 2, 2, 2, 2)),
    ];
    for (millis, object) in writes {
        last = history.update(millis, &last, object);
    }
    assert_eq!(
        steps_of(&written(&history), "web").await,
        [
            "deployment.changed_to_ready#2 superseded",
            "deployment.changed_to_ready#3 900",
            "deployment.created_to_ready#1 400",
        ]
    );
}

#[tokio::test]
async fn a_deployment_that_existed_counts_from_its_next_generation() {
    let of = |generation, observed, wanted: i64| {
        deployment(
            "web",
            Rollout {
                generation,
                observed,
                wanted,
                replicas: wanted,
                updated: wanted,
                ready: wanted,
                available: wanted,
            },
        )
    };
    let mut history = History::after(10);
    let (state, before) = existing(10, 9, of(4, 4, 3));
    let asked = history.update(1_000, &before, of(5, 4, 0));
    // Scaled to nothing: ready as soon as nothing is left.
    history.update(1_030, &asked, of(5, 5, 0));
    // Asking for deletion raises the generation but asks for no replicas.
    let mut doomed = of(6, 5, 0);
    doomed.deletion_time = Some(cascade_proto::tables::Timestamp(1));
    let last = history.changes.last().unwrap().clone();
    let doomed_change = history.update(2_000, &last, doomed.clone());
    doomed.observed_generation = Some(6);
    let doomed_change = history.update(2_010, &doomed_change, doomed);
    history.delete(2_020, &doomed_change);
    let mut folder = written(&history);
    folder.write(&[state]);
    assert_eq!(
        steps_of(&folder, "web").await,
        [
            "deployment.changed_to_ready#4 before_trace",
            "deployment.changed_to_ready#5 30",
            "deployment.changed_to_ready#6 deleted",
        ]
    );
}

#[tokio::test]
async fn a_service_counts_until_the_first_ready_endpoint_of_its_own_slices() {
    let mut history = History::after(1);
    // An older slice of the same name, left by another Service.
    history.create(500, slice("old", "web", 3));
    history.create(1_000, service("web"));
    let empty = history.create(1_050, slice("web-a", "web", 0));
    history.create(1_900, slice("web-b", "web", 1));
    history.update(1_700, &empty, slice("web-a", "web", 2));
    history.create(1_100, slice("other", "other", 1));
    history.create(1_000, service("lonely"));
    let folder = written(&history);
    // web-b has the lower revision: the first in etcd's order counts.
    assert_eq!(
        steps_of(&folder, "web").await,
        ["service.created_to_endpoint 900"]
    );
    assert_eq!(
        steps_of(&folder, "lonely").await,
        ["service.created_to_endpoint not_reached"]
    );
}

#[tokio::test]
async fn a_slice_may_have_been_lost_in_a_gap() {
    let mut history = History::after(1);
    history.create(1_000, service("web"));
    history.skip(1);
    history.create(1_500, slice("web-a", "web", 1));
    let mut folder = written(&history);
    folder.write(&[gap(3, 3)]);
    assert_eq!(
        steps_of(&folder, "web").await,
        ["service.created_to_endpoint not_observed"]
    );
}

#[tokio::test]
async fn an_empty_trace_has_no_steps() {
    let mut history = History::after(1);
    history.create(1_000, crate::support::history::kwok_node("node-1"));
    assert!(steps(&written(&history)).await.is_empty());
}
