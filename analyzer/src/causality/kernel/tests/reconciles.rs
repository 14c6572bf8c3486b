//! Where one reconcile ends and the next begins, and what each of them had read.

use super::{SPEC, STATUS, bystander};
use crate::causality::kernel::change::Op::{Create, Update};
use crate::causality::kernel::story::{Line, line, tell};

fn of_app(line: Line) -> Line {
    line.owner("web")
}

fn seen(generation: i64, line: Line) -> Line {
    Line {
        generation: Some(generation),
        observed: Some(generation),
        ..line.changed(STATUS)
    }
}

fn wish(generation: i64, line: Line) -> Line {
    Line {
        generation: Some(generation),
        ..line.changed(SPEC)
    }
}

#[test]
fn what_a_loop_has_just_written_does_not_set_its_next_write_off() {
    let mut lines = Vec::new();
    let mut firsts = Vec::new();
    for (app, at) in [("a", 0), ("b", 20_000), ("c", 40_000)] {
        let by = |at, actor, op, kind, name: String| line(at, actor, op, kind, &name).owner(app);
        let pods = format!("{app}-pods");
        firsts.push(u32::try_from(lines.len()).unwrap());
        lines.push(line(at, "kubectl", Create, "App", app));
        // Slow requests, each sent as soon as the one before was answered.
        let slowly = |line: Line| Line { took: 300, ..line };
        lines.push(slowly(by(
            at + 400,
            "app-operator",
            Create,
            "Deployment",
            pods.clone(),
        )));
        let status = line(at + 704, "app-operator", Update, "App", app).changed(STATUS);
        lines.push(slowly(status));
        // Most statuses follow others' changes, so that going on is seldom the reason for one.
        for later in [2_000, 4_000, 6_000, 8_000] {
            lines.push(
                by(at + later, "kubelet", Update, "Deployment", pods.clone()).changed(STATUS),
            );
            lines.push(line(at + later + 100, "app-operator", Update, "App", app).changed(STATUS));
        }
    }
    let told = tell(&lines);
    for first in firsts {
        assert_eq!(told.causes(first + 1), [first]);
        assert_eq!(told.causes(first + 2), [first], "not the Deployment");
        assert_eq!(told.causes(first + 4), [first + 3]);
    }
}

#[test]
fn a_wish_that_a_status_does_not_name_yet_was_not_read_however_old_it_is() {
    let told = tell(&[
        wish(1, line(0, "kubectl", Create, "App", "web")),
        of_app(line(20, "app-operator", Create, "Deployment", "pods")),
        seen(1, line(30, "app-operator", Update, "App", "web")),
        wish(2, line(5_000, "kubectl", Update, "App", "web")),
        // Committed before the first request of the reconcile that had read the one before.
        wish(3, line(5_300, "kubectl", Update, "App", "web")),
        of_app(line(5_400, "app-operator", Update, "Deployment", "pods").changed(SPEC)),
        seen(2, line(5_410, "app-operator", Update, "App", "web")),
        bystander(5_500),
        of_app(line(5_600, "app-operator", Update, "Deployment", "pods").changed(SPEC)),
        seen(3, line(5_610, "app-operator", Update, "App", "web")),
    ]);
    assert_eq!(told.causes(5), [3]);
    assert_eq!(told.causes(8), [4]);
}

#[test]
fn what_is_again_as_it_was_came_of_who_had_changed_it() {
    let config = |at, actor, op, wanted| Line {
        wanted: Some(wanted),
        ..of_app(line(at, actor, op, "ConfigMap", "settings").changed(&["data"]))
    };
    let story = |last| {
        tell(&[
            line(0, "kubectl", Create, "App", "web"),
            config(20, "app-operator", Create, 1),
            config(5_000, "kubectl", Update, 2),
            line(5_090, "kubectl", Update, "App", "web").changed(SPEC),
            config(5_100, "app-operator", Update, last),
        ])
    };
    assert_eq!(story(1).causes(4), [2], "put right");
    assert!(story(3).causes(4).contains(&3), "something new was wanted");
}

#[test]
fn a_second_status_hardly_comes_of_the_reconcile_that_wrote_the_first() {
    let mut lines = Vec::new();
    for app in 0..20 {
        let (at, name) = (app * 10_000, format!("app-{app}"));
        let pods = format!("{name}-pods");
        let deployment = |at, actor, op| line(at, actor, op, "Deployment", &pods).owner(&name);
        let ready = |at| deployment(at, "kubelet", Update).changed(STATUS);
        let status = |at| line(at, "app-operator", Update, "App", &name).changed(STATUS);
        lines.push(line(at, "kubectl", Create, "App", &name));
        lines.push(deployment(at + 20, "app-operator", Create));
        // The same reconcile, after a while.
        lines.push(status(at + 160));
        lines.push(ready(at + 4_000));
        lines.push(status(at + 4_300));
        if app == 19 {
            lines.push(ready(at + 4_380));
            lines.push(status(at + 4_440));
        }
    }
    let told = tell(&lines);
    let last = u32::try_from(lines.len()).unwrap() - 1;
    assert_eq!(told.causes(last), [last - 1]);
}

#[test]
fn the_first_status_that_names_a_generation_came_of_it() {
    let deployment =
        |at, actor, op| of_app(line(at, actor, op, "Deployment", "pods").changed(STATUS));
    let told = tell(&[
        wish(1, line(0, "kubectl", Create, "App", "web")),
        of_app(line(20, "app-operator", Create, "Deployment", "pods")),
        seen(1, line(30, "app-operator", Update, "App", "web")),
        wish(2, line(5_000, "kubectl", Update, "App", "web")),
        deployment(5_200, "kubelet", Update),
        seen(2, line(5_210, "app-operator", Update, "App", "web")),
        deployment(5_300, "kubelet", Update),
        seen(2, line(5_310, "app-operator", Update, "App", "web")),
    ]);
    assert_eq!(told.causes(5), [3], "not what came just before");
    assert_eq!(told.causes(7), [6]);
}

#[test]
fn a_reconcile_hardly_goes_on_after_its_status() {
    let mut lines = Vec::new();
    for app in 0..20 {
        let (at, name) = (app * 10_000, format!("app-{app}"));
        let (pods, settings) = (format!("{name}-pods"), format!("{name}-settings"));
        let of_app = |at, op, kind, name: &str, owner: &str| {
            line(at, "app-operator", op, kind, name)
                .owner(owner)
                .changed(SPEC)
        };
        lines.push(line(at, "kubectl", Create, "App", &name));
        // Each request is sent 100 ms after the answer to the one before.
        lines.push(of_app(at + 20, Create, "ConfigMap", &settings, &name));
        lines.push(of_app(at + 123, Create, "Deployment", &pods, &name));
        lines.push(line(at + 226, "app-operator", Update, "App", &name).changed(STATUS));
        lines.push(line(at + 5_000, "kubectl", Update, "App", &name).changed(SPEC));
        lines.push(of_app(at + 5_050, Update, "ConfigMap", &settings, &name));
        lines.push(of_app(at + 5_153, Update, "Deployment", &pods, &name));
        lines.push(line(at + 5_256, "app-operator", Update, "App", &name).changed(STATUS));
        if app == 19 {
            lines.push(line(at + 5_310, "kubectl", Update, "App", &name).changed(SPEC));
            lines.push(of_app(at + 5_359, Update, "Deployment", &pods, &name));
        }
    }
    let told = tell(&lines);
    let last = u32::try_from(lines.len()).unwrap() - 1;
    assert_eq!(told.causes(last), [last - 1]);
}
