#!/usr/bin/env python3
"""Tests of the truth harness itself: a measurement that cannot fail measures nothing."""

import csv
import io
import json
import os
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import ablation
import baseline
import calibration
import edges as edge_truth
import evaluate
import truth

FIRST, SECOND = "bcdfghj", "klmnpqr"


def change(revision, key, op="create", kind="Pod", name="", uid="", **more):
    """A row of the truth builder's export."""
    row = {
        "revision": revision,
        "ordinal": 0,
        "key": key,
        "op": op,
        "kind": kind,
        "namespace": "truth",
        "name": name,
        "uid": uid or name,
        "mark": "",
        "deleting": "false",
        "owner_kind": "",
        "owner_name": "",
        "owner_uid": "",
        "name_ref": "",
        "node_name": "",
        "changed": "",
    }
    return truth.Change(row | more)


def write(group, phase, kind, name, revision, verb="create", mark=None, uid=None, time=0.0):
    """A mark of a client's write."""
    return {
        "type": "write",
        "group": group,
        "phase": phase,
        "kind": kind,
        "name": name,
        "verb": verb,
        "revision": revision,
        "uid": uid or name,
        "reaches": [],
        "mark": mark,
        "time": time or float(revision or 0),
    }


def marks(*writes, phases=((1, 10), (2, 20), (3, 30))):
    """Two groups, phases and these writes."""
    return (
        [{"type": "group", "prefix": prefix, "shape": "deployment"} for prefix in (FIRST, SECOND)]
        + [{"type": "phase", "phase": phase, "after": after} for phase, after in phases]
        + list(writes)
    )


def truth_rows(marked, changes):
    """The rows of truth.csv, as the evaluator reads them, by revision."""
    return {
        row.id[0]: row
        for row in (
            evaluate.Row({key: str(value) for key, value in row.items()}) for row in truth.Truth(marked, changes).rows()
        )
    }


def numbers(roots):
    """Revisions of a set of roots."""
    return sorted(revision for revision, _ in roots)


def edges(*pairs, confidence=1.0, evidence="owner", chosen=True):
    """Edges as (effect, cause)."""
    return [
        evaluate.Edge(
            {
                "effect_revision": effect,
                "effect_ordinal": 0,
                "cause_revision": cause,
                "cause_ordinal": 0,
                "evidence": evidence,
                "confidence": confidence,
                "chosen": "true" if chosen else "false",
            }
        )
        for effect, cause in pairs
    ]


class TruthOfMarks(unittest.TestCase):
    def simple(self):
        return truth_rows(
            marks(
                write(FIRST, 1, "Deployment", FIRST, 11),
                write(FIRST, 1, "Service", f"{FIRST}-s", 12),
                write(SECOND, 1, "Deployment", SECOND, 13),
                write(FIRST, 2, "Deployment", FIRST, None, verb="delete"),
            ),
            [
                change(5, "/registry/namespaces/truth", kind="Namespace", name="truth"),
                change(11, "/d", kind="Deployment", name=FIRST),
                change(12, "/s", kind="Service", name=f"{FIRST}-s"),
                change(13, "/e", kind="Deployment", name=SECOND),
                change(14, "/p", name=f"{FIRST}-1"),
                change(15, "/q", name=f"{SECOND}-1"),
                change(16, "/x", kind="Endpoints", name=f"{FIRST}-s"),
                change(17, "/registry/leases/a", kind="Lease", name="a"),
                change(18, "/n", kind="Node", name="node-1", op="update"),
                change(21, "/d", kind="Deployment", name=FIRST, op="delete"),
                change(22, "/p", name=f"{FIRST}-1", op="delete"),
                change(23, "/q", name=f"{SECOND}-1", op="update"),
            ],
        )

    def test_endpoints_follow_pods_on_nodes_of_other_groups(self):
        rows = truth_rows(
            marks(
                write(FIRST, 1, "Node", f"{FIRST}-node", 11),
                write(SECOND, 1, "Deployment", SECOND, 12),
                write(FIRST, 2, "Node", f"{FIRST}-node", 21, verb="patch"),
            ),
            [
                change(11, "/n", kind="Node", name=f"{FIRST}-node"),
                change(12, "/d", kind="Deployment", name=SECOND),
                change(13, "/p", name=f"{SECOND}-1", node_name=f"{FIRST}-node"),
                change(14, "/x", kind="Endpoints", name=f"{SECOND}-s"),
                change(21, "/n", kind="Node", name=f"{FIRST}-node", op="update"),
                change(22, "/p", name=f"{SECOND}-1", op="delete", node_name=f"{FIRST}-node"),
                change(23, "/x", kind="Endpoints", name=f"{SECOND}-s", op="update"),
                change(24, "/d", kind="Deployment", name=SECOND, op="update", changed="status"),
            ],
        )
        self.assertEqual(numbers(rows[22].expected), [21])
        self.assertEqual(numbers(rows[23].expected), [12, 21])
        self.assertEqual(rows[23].scope, "shared")
        self.assertEqual(numbers(rows[24].expected), [12])

    def test_names_and_phases_tell_the_roots(self):
        rows = self.simple()
        self.assertNotIn(5, rows, "before the first phase")
        self.assertEqual(numbers(rows[14].expected), [11], "the Service's write makes no pod")
        self.assertEqual(numbers(rows[15].expected), [13])
        self.assertEqual(numbers(rows[16].expected), [11, 12], "Endpoints follow pods and Service")
        self.assertEqual(numbers(rows[22].expected), [21], "a deletion is found by its uid")
        self.assertEqual(numbers(rows[23].expected), [13], "a straggler belongs to the newest phase of its workload")
        self.assertEqual(
            [rows[revision].scope for revision in (11, 14, 17, 18, 21)],
            ["client", "effect", "lease", "background", "client"],
        )

    def test_a_write_that_changed_nothing_is_no_root(self):
        built = truth.Truth(
            marks(
                write(FIRST, 1, "Deployment", FIRST, 11),
                write(FIRST, 2, "Deployment", FIRST, 11, verb="patch", time=99.0),
                write(FIRST, 2, "Deployment", FIRST, 77, verb="patch"),
            ),
            [
                change(11, "/d", kind="Deployment", name=FIRST),
                change(12, "/d", kind="Deployment", name=FIRST, op="update", changed="status"),
                change(21, "/d", kind="Deployment", name=FIRST, op="update", changed="metadata.managedFields status"),
            ],
        )
        self.assertEqual(list(built.by_revision), [11])
        self.assertEqual(len(built.unresolved), 2)

    def test_a_no_op_is_not_taken_for_the_write_whose_revision_it_was_answered_with(self):
        status = dict(kind="Deployment", name=FIRST, op="update", changed="metadata.managedFields status")
        for revision in (12, 21):
            with self.subTest(revision):
                built = truth.Truth(
                    marks(
                        write(FIRST, 1, "Deployment", FIRST, 11),
                        write(FIRST, 2, "Deployment", FIRST, revision, verb="patch"),
                    ),
                    [
                        change(11, "/d", kind="Deployment", name=FIRST),
                        change(12, "/d", **status),
                        change(21, "/d", **status),
                    ],
                )
                self.assertEqual(list(built.by_revision), [11])

    def test_marks_tell_hurried_writes_apart(self):
        pods = dict(kind="Pod", owner_kind="ReplicaSet")
        rows = truth_rows(
            marks(
                write(FIRST, 1, "Deployment", FIRST, 11, mark=1),
                write(FIRST, 1, "Deployment", FIRST, 15, verb="patch", mark=2),
                write(FIRST, 1, "Deployment", FIRST, 18, verb="patch", mark=3),
            ),
            [
                change(11, "/d", kind="Deployment", name=FIRST),
                change(12, "/a", name=f"{FIRST}-a", mark="1", owner_uid="one", **pods),
                change(15, "/d", kind="Deployment", name=FIRST, op="update"),
                change(16, "/r", kind="ReplicaSet", name=f"{FIRST}-r", uid="two"),
                change(17, "/b", name=f"{FIRST}-b", mark="2", owner_uid="two", **pods),
                change(18, "/d", kind="Deployment", name=FIRST, op="update"),
                change(19, "/b", name=f"{FIRST}-b", mark="2", owner_uid="two", op="update", **pods),
                change(20, "/a", name=f"{FIRST}-a", mark="1", owner_uid="one", op="update", deleting="true", **pods),
                change(21, "/c", name=f"{FIRST}-c", mark="2", owner_uid="two", **pods),
            ],
        )
        self.assertEqual(numbers(rows[12].expected), [11])
        self.assertEqual(numbers(rows[16].expected), [15], "the ReplicaSet is known by its pods")
        self.assertEqual((numbers(rows[17].expected), numbers(rows[17].tolerated)), ([15], [11]))
        self.assertEqual(numbers(rows[19].expected), [15], "a later write does not own an earlier pod")
        self.assertEqual((numbers(rows[20].expected), numbers(rows[20].tolerated)), ([15, 18], [11]))
        self.assertEqual(
            numbers(rows[21].expected), [15, 18], "mark 3 is on no pod: a scale, which may have made this one"
        )

    def test_a_pod_that_is_being_deleted_goes_on_to_go(self):
        pod = dict(kind="Pod", name=f"{FIRST}-1", uid="pod")
        rows = truth_rows(
            marks(
                write(FIRST, 1, "Deployment", FIRST, 11),
                write(FIRST, 1, "Deployment", FIRST, 13, verb="patch"),
                write(FIRST, 2, "Deployment", FIRST, 21, verb="patch"),
            ),
            [
                change(11, "/d", kind="Deployment", name=FIRST),
                change(12, "/p", **pod),
                change(13, "/d", kind="Deployment", name=FIRST, op="update"),
                change(14, "/p", op="update", deleting="true", **pod),
                change(21, "/d", kind="Deployment", name=FIRST, op="update"),
                change(22, "/p", op="update", deleting="true", **pod),
                change(23, "/p", op="delete", deleting="true", **pod),
            ],
        )
        for revision in (14, 22, 23):
            self.assertEqual(numbers(rows[revision].expected), [11, 13], "it was to go before the last write")

    def test_a_schedule_starts_a_cascade(self):
        cron = dict(kind="Job", name=f"{FIRST}-100", owner_kind="CronJob", owner_name=FIRST)
        rows = truth_rows(
            marks(write(FIRST, 1, "CronJob", FIRST, 11)),
            [
                change(11, "/c", kind="CronJob", name=FIRST),
                change(21, "/j", **cron),
                change(22, "/p", name=f"{FIRST}-100-x"),
                change(23, "/c", kind="CronJob", name=FIRST, op="update"),
            ],
        )
        self.assertEqual(rows[21].scope, "timer")
        self.assertEqual(numbers(rows[22].expected), [21])
        self.assertIn((21, 0), rows[23].expected)

    def test_an_eviction_writes_twice(self):
        pod = dict(name=f"{FIRST}-1")
        rows = truth_rows(
            marks(
                write(FIRST, 1, "Deployment", FIRST, 11),
                write(FIRST, 2, "Pod", f"{FIRST}-1", None, verb="evict", time=99.0),
            ),
            [
                change(11, "/d", kind="Deployment", name=FIRST),
                change(12, "/p", **pod),
                change(21, "/b", kind="PodDisruptionBudget", name=f"{FIRST}-b", op="update"),
                change(22, "/p", op="update", changed="status conditions.DisruptionTarget", **pod),
                change(23, "/p", op="update", deleting="true", **pod),
                change(24, "/q", name=f"{FIRST}-2"),
            ],
        )
        self.assertEqual(
            [rows[revision].scope for revision in (21, 22, 23, 24)], ["request", "request", "client", "effect"]
        )
        self.assertEqual(numbers(rows[24].expected), [22, 23])
        groups = evaluate.Groups(rows.values())
        judged = [evaluate.judge(rows[23], frozenset([(root, 0)]), groups) for root in (23, 22, 11)]
        self.assertEqual(judged, [evaluate.RIGHT, evaluate.RIGHT, evaluate.WRONG])

    def test_what_the_clock_ends_may_begin_there(self):
        job = dict(kind="Job", name=f"{FIRST}-j")
        rows = truth_rows(
            marks(
                write(FIRST, 1, "Job", f"{FIRST}-j", 11),
                {"type": "clock", "group": FIRST, "name": f"{FIRST}-j", "what": "ttl"},
            ),
            [
                change(11, "/j", **job),
                change(12, "/j", op="update", **job),
                change(13, "/j", op="update", deleting="true", **job),
                change(14, "/p", name=f"{FIRST}-j-x", op="update", deleting="true"),
            ],
        )
        self.assertEqual([rows[revision].may_start for revision in (12, 13, 14)], [False, True, False])
        self.assertEqual([numbers(rows[revision].expected) for revision in (12, 13, 14)], [[11], [11], [11, 13]])


class Evaluation(unittest.TestCase):
    def setUp(self):
        self.rows = TruthOfMarks().simple()

    def measure(self, found, **more):
        return evaluate.evaluate("test", list(self.rows.values()), found, **more)

    RIGHT = ((14, 11), (15, 13), (16, 12), (16, 14), (22, 21), (23, 15))

    def test_right_edges_are_all_right(self):
        result = self.measure(edges(*self.RIGHT))
        self.assertEqual(
            result["measured"],
            {
                "n": 5,
                "right": 5,
                "tolerated": 0,
                "missing": 0,
                "wrong": 0,
                "foreign": 0,
                "right_share": 1.0,
                "strict_share": 1.0,
            },
        )
        self.assertEqual(result["workloads_wholly_right"], 2)
        self.assertEqual(result["first_misses"], [])

    def test_no_edges_are_all_missing(self):
        self.assertEqual(self.measure([])["measured"]["missing"], 5)

    def judged_with(self, effect, *causes):
        kept = [pair for pair in self.RIGHT if pair[0] != effect]
        return self.measure(edges(*kept, *((effect, cause) for cause in causes)))

    def test_a_root_of_another_workload_is_foreign(self):
        result = self.judged_with(14, 13)
        self.assertEqual(
            (result["measured"]["foreign"], result["measured"]["right"]), (2, 3), "the Endpoints inherit it"
        )
        self.assertEqual([miss["kind"] for miss in result["first_misses"]], ["Pod"], "and are no miss of their own")
        self.assertEqual(self.judged_with(14, 11, 13)["measured"]["foreign"], 2, "even beside the right one")

    def test_a_root_of_an_earlier_phase_is_wrong(self):
        self.assertEqual(self.judged_with(22, 14)["measured"]["wrong"], 1)
        self.assertEqual(self.judged_with(22, 14, 21)["measured"]["wrong"], 1)

    def test_a_root_of_the_own_workload_that_cannot_reach_it_is_wrong(self):
        self.assertEqual(self.judged_with(14, 12)["measured"]["wrong"], 1)

    def test_an_orphan_is_missing(self):
        result = self.judged_with(14)
        self.assertEqual(result["measured"]["missing"] + result["measured"]["wrong"], 2)
        self.assertEqual(
            evaluate.judge(self.rows[14], frozenset([(14, 0)]), evaluate.Groups(self.rows.values())), evaluate.MISSING
        )

    def test_a_clients_write_must_be_a_root_and_a_heartbeat_no_ones_effect(self):
        result = self.measure(edges(*self.RIGHT, (21, 14), (18, 11)))
        self.assertEqual(result["by_scope"]["client"]["wrong"], 1)
        self.assertEqual(result["by_scope"]["background"]["foreign"], 1)

    def test_edges_that_were_not_chosen_count_for_calibration_only(self):
        result = self.measure(edges(*self.RIGHT, confidence=0.95) + edges((14, 13), confidence=0.2, chosen=False))
        self.assertEqual(result["measured"]["right"], 5)
        self.assertEqual(
            [(row["bin"], row["n"], row["observed"]) for row in result["calibration_all"]],
            [("0 to 0.3", 1, 0.0), ("0.95 to 0.99", 6, 1.0)],
        )
        self.assertEqual([row["n"] for row in result["calibration_chosen"]], [6])

    def test_calibration_states_the_error(self):
        result = self.measure(edges((14, 11), (15, 13), confidence=0.9) + edges((22, 14), (23, 11), confidence=0.9))
        self.assertEqual(
            result["calibration_chosen"], [{"bin": "0.9 to 0.95", "n": 4, "stated": 0.9, "observed": 0.5, "error": 0.4}]
        )

    def test_candidates_with_the_same_roots_are_added_up(self):
        found = edges((14, 11), (15, 13), confidence=0.6) + edges((14, 11), confidence=0.3, chosen=False)
        result = self.measure(found + edges((15, 12), confidence=0.3, chosen=False))
        self.assertEqual(
            [(row["stated"], row["n"]) for row in result["calibration_roots"]],
            [(0.6, 1), (0.9, 1)],
            "12 is another root",
        )

    def test_tolerated_roots_count_apart(self):
        row = self.rows[14]
        row.tolerated = frozenset([(12, 0)])
        groups = evaluate.Groups(self.rows.values())
        self.assertEqual(evaluate.judge(row, frozenset([(11, 0), (12, 0)]), groups), evaluate.TOLERATED)
        self.assertEqual(
            evaluate.judge(row, frozenset([(12, 0)]), groups), evaluate.WRONG, "a tolerated root alone is not enough"
        )

    def test_a_cause_after_its_effect_is_refused(self):
        with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
            file.write(
                "effect_revision,effect_ordinal,cause_revision,cause_ordinal,relation,evidence,confidence,chosen\n5,0,6,0,trigger,owner,1,true\n"
            )
            file.flush()
            with self.assertRaises(ValueError):
                evaluate.read_edges(file.name)

    def test_the_last_requirement_that_fits_counts(self):
        self.assertEqual(evaluate.required_share(["0.9", "slow=0.5"], "slow"), 0.5)
        self.assertEqual(evaluate.required_share(["0.9", "slow=0.5"], "other"), 0.9)
        self.assertEqual(evaluate.required_share([], "other"), 0)

    def test_requirements_fail_the_run(self):
        with tempfile.TemporaryDirectory() as folder:
            truth_file, edges_file, json_file = (
                os.path.join(folder, name) for name in ("truth.csv", "edges.csv", "out.json")
            )
            built = truth.Truth(
                marks(write(FIRST, 1, "Deployment", FIRST, 11)),
                [change(11, "/d", kind="Deployment", name=FIRST), change(12, "/p", name=f"{FIRST}-1")],
            )
            with open(truth_file, "w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, truth.COLUMNS)
                writer.writeheader()
                writer.writerows(built.rows())
            header = "effect_revision,effect_ordinal,cause_revision,cause_ordinal,relation,evidence,confidence,chosen\n"
            for body, code in (("12,0,11,0,trigger,owner,0.9,true\n", 0), ("", 1)):
                with open(edges_file, "w", encoding="utf-8") as file:
                    file.write(header + body)
                arguments = [
                    "evaluate.py",
                    f"a={truth_file},{edges_file}",
                    "--require",
                    "0.99",
                    "--json",
                    json_file,
                    "--markdown",
                    os.devnull,
                ]
                with mock.patch.object(sys, "argv", arguments), mock.patch.object(sys, "stderr", io.StringIO()):
                    self.assertEqual(evaluate.main(), code)
                with open(json_file, encoding="utf-8") as file:
                    self.assertEqual(json.load(file)["total"]["right"], 1 - code)


class Ablation(unittest.TestCase):
    def test_every_row_is_compared_with_what_everything_together_gets_right(self):
        result = lambda share: {
            "runs": [{"name": "a", "measured": {"right_share": share}}],
            "total": {"right_share": share},
        }
        text = ablation.ablation_table([("", result(0.99)), ("owner", result(0.5)), ("uid", result(0.99))])
        self.assertIn("| nothing | 99.00 % | 99.00 % |", text)
        self.assertIn("| `owner` | 50.00 % (-49.00) | 50.00 % (-49.00) |", text)
        self.assertIn("| `uid` | 99.00 % | 99.00 % |", text)


class BaselineRules(unittest.TestCase):
    def test_a_pod_follows_its_owner_and_its_binding_follows_it(self):
        def row(revision, kind, uid, op="create", owners="[]", changed="", manager="kube-controller-manager"):
            return {
                "revision": revision,
                "ordinal": 0,
                "key": f"/{uid}",
                "op": op,
                "kind": kind,
                "namespace": "n",
                "name": uid,
                "uid": uid,
                "owners": owners,
                "related_uids": "[]",
                "labels": "{}",
                "selector": "",
                "writers": json.dumps([{"manager": manager}] if manager else []),
                "changed": changed,
                "deleting": "false",
                "at": revision * 1_000_000_000,
            }

        rules = baseline.Baseline()
        self.assertEqual(rules.causes(row(1, "ReplicaSet", "r", manager="kubectl")), ([], ""))
        self.assertEqual(rules.causes(row(2, "Pod", "p", owners='[{"uid": "r"}]'))[0], [1])
        self.assertEqual(
            rules.causes(
                row(3, "Pod", "p", op="update", owners='[{"uid": "r"}]', changed='["spec","status"]', manager="")
            )[0],
            [2],
        )


def logged(verb, kind, revision=None, triggers=(), overtaken=(), inputs=(), uid="u"):
    """A write in the operator's log."""
    texts = lambda revisions: [str(revision) for revision in revisions]
    return json.dumps(
        {
            "event": "write",
            "verb": verb,
            "kind": kind,
            "namespace": "truth",
            "name": FIRST,
            "uid": uid,
            "triggers": texts(triggers),
            "overtaken": texts(overtaken),
            "inputs": texts(inputs),
        }
        | ({"resourceVersion": str(revision)} if revision else {})
    )


class TruthOfAnOperator(unittest.TestCase):
    def judged(self, lines, derived):
        return edge_truth.judge("run", edge_truth.read_writes(lines), derived)

    def test_an_edge_to_what_was_read_but_changed_nothing_is_wrong(self):
        lines = [logged("status", "App", 20, triggers=[15], overtaken=[14], inputs=[13, 14, 15])]
        result = self.judged(lines, edges((20, 15), (20, 14), (20, 13), (20, 12), (21, 3)))
        figures = result["all"]
        self.assertEqual((figures["edges"], figures["precision"], figures["read"]), (4, 0.5, 0.75))
        self.assertEqual(figures["recall"], 1)
        self.assertEqual(
            {miss["judgement"] for miss in result["misses"]}, {"wrong: read, but changed nothing", "wrong: not read"}
        )

    def test_what_is_overtaken_need_not_be_found_and_a_trigger_must_be(self):
        lines = [logged("apply", "Deployment", 20, triggers=[15, 16], overtaken=[14])]
        result = self.judged(lines, edges((20, 15)) + edges((20, 16), chosen=False))
        self.assertEqual((result["all"]["precision"], result["all"]["recall"]), (1, 0.5))
        self.assertEqual(self.judged(lines, [])["all"]["precision"], None)
        self.assertEqual(self.judged(lines, [])["all"]["recall"], 0)

    def test_a_deletion_has_the_revision_at_which_a_watch_showed_it(self):
        gone = lambda uid, revision: json.dumps({"event": "gone", "uid": uid, "resourceVersion": str(revision)})
        lines = [
            logged("delete", "Deployment", triggers=[10], uid="d"),
            gone("d", 12),
            logged("finalizer", "App", triggers=[12], uid="a"),
            gone("a", 14),
        ]
        result = self.judged(lines, edges((12, 10), (14, 12), (14, 10)))
        self.assertEqual((result["all"]["precision"], result["all"]["recall"]), (1, 1))

    def test_confidence_is_of_the_cascade_and_of_rejected_candidates_too(self):
        lines = [logged("status", "App", 20, triggers=[15])]
        same_cascade = edges((15, 10), (14, 10)) + edges((20, 14), confidence=0.92)
        result = self.judged(lines, same_cascade + edges((20, 3), confidence=0.05, chosen=False))
        observed = {row["bin"]: row["observed"] for row in result["calibration"]}
        self.assertEqual(observed, {"0.9 to 0.95": 1, "0 to 0.3": 0})

    def test_large_bins_have_enough_edges_and_never_part_equals(self):
        table = calibration.Calibration()
        for confidence, right, count in ((0.1, 0, 150), (0.2, 1, 60), (0.9, 1, 500), (1.0, 1, 199)):
            for _ in range(count):
                table.add(confidence, right)
        rows = [(row["bin"], row["n"], row["observed"]) for row in table.large_bins()]
        self.assertEqual(rows, [("0.1 to 0.2", 210, round(60 / 210, 4)), ("0.9 to 1", 699, 1)])

    def test_a_write_without_a_known_reason_is_left_out_and_counted(self):
        result = self.judged([logged("apply", "Service", 20)], edges((20, 3)))
        self.assertEqual((result["untold"], result["all"]["writes"]), (1, 0))

    def test_too_little_fails(self):
        with tempfile.TemporaryDirectory() as folder:
            log, csv_file = os.path.join(folder, "log"), os.path.join(folder, "edges.csv")
            with open(log, "w", encoding="utf-8") as file:
                file.write(logged("status", "App", 20, triggers=[15]) + "\n")
            with open(csv_file, "w", encoding="utf-8") as file:
                file.write(
                    "effect_revision,effect_ordinal,cause_revision,cause_ordinal,evidence,confidence,chosen\n"
                    "20,0,15,0,child,1,true\n20,0,14,0,child,1,true\n"
                )
            for required, expected in (("0.5", 0), ("0.6", 1)):
                arguments = ["edges.py", f"run={log},{csv_file}", "--require", required]
                with mock.patch.object(sys, "argv", arguments), mock.patch("sys.stdout"), mock.patch("sys.stderr"):
                    self.assertEqual(edge_truth.main(), expected)


class TruthOfAnOperatorsWorkload(unittest.TestCase):
    def test_what_an_operator_watches_may_reach_everything(self):
        marked = [{"type": "group", "prefix": FIRST, "shape": "app"}] + marks(
            write(FIRST, 1, "ConfigMap", FIRST, 11, verb="patch")
        )[2:]
        rows = truth_rows(
            marked,
            [
                change(11, "/c", op="update", kind="ConfigMap", name=FIRST),
                change(12, "/d", op="update", kind="Deployment", name=FIRST),
            ],
        )
        self.assertEqual(numbers(rows[12].expected), [11])


if __name__ == "__main__":
    unittest.main()
