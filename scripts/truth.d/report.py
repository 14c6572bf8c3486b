"""What evaluate.py and edges.py measured: their options for it, and its tables as Markdown."""

import json


def add_options(parser, misses, require):
    """Options of a measurement: where its results go, and what it requires; `misses` and `require` are help texts."""
    parser.add_argument("--json", help="write everything as JSON to this file")
    parser.add_argument("--markdown", help="write the report to this file instead of stdout")
    parser.add_argument("--misses", help=misses)
    parser.add_argument("--require", action="append", default=[], metavar="[NAME=]SHARE", help=require)


def write(arguments, text, figures, misses):
    """Writes the Markdown, and what else the options of add_options ask for."""
    if arguments.markdown:
        with open(arguments.markdown, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        print(text)
    for path, content in ((arguments.json, figures), (arguments.misses, misses)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)


def table(headers, rows):
    """A Markdown table."""
    lines = ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
    lines += ["| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def percent(share):
    """A share as a percentage with two decimals."""
    return "" if share is None else f"{100 * share:.2f} %"


def tally_table(title, counts, judgements):
    """A table of tallies."""
    return table(
        [title, "n", *judgements, "right share", "without tolerated"],
        [
            [
                key,
                value["n"],
                *(value[judgement] for judgement in judgements),
                percent(value["right_share"]),
                percent(value["strict_share"]),
            ]
            for key, value in counts.items()
        ],
    )


def markdown(results, total, judgements):
    """The whole report: the judgements, in order, are the columns of its tallies."""
    parts = [
        "# Causes against truth\n",
        tally_table(
            "run",
            {result["name"]: result["measured"] for result in results} | ({"all": total} if len(results) > 1 else {}),
            judgements,
        ),
    ]
    for result in results:
        parts.append(
            f"\n## {result['name']}\n\n{result['workloads_wholly_right']} of {len(result['by_workload'])} workloads wholly right; "
            f"{result['edges']['chosen']} chosen edges of {result['edges']['candidates']}.\n"
        )
        parts += [
            tally_table(title, result[key], judgements)
            for title, key in (("scope", "by_scope"), ("kind", "by_kind"), ("actor", "by_actor"), ("phase", "by_phase"))
        ]
        if result["first_misses"]:
            parts.append(
                table(
                    ["kind", "op", "actor", "judgement", "evidence", "n", "example"],
                    [
                        [
                            miss["kind"],
                            miss["op"],
                            miss["actor"],
                            miss["judgement"],
                            miss["evidence"],
                            miss["n"],
                            "revision {revision} {key}: roots {roots}, expected {expected}, causes {causes}".format(
                                **miss["examples"][0]
                            ),
                        ]
                        for miss in result["first_misses"]
                    ],
                )
            )
        for title, key in (
            ("confidence of chosen edges", "calibration_chosen"),
            ("of candidates with the same roots together", "calibration_roots"),
            ("of all candidates", "calibration_all"),
        ):
            if result[key]:
                parts.append(
                    table([title, "n", "stated", "observed", "error"], [list(row.values()) for row in result[key]])
                )
        rows = [
            [evidence, *row.values()] for evidence, bins in result["calibration_by_evidence"].items() for row in bins
        ]
        if rows:
            parts.append(table(["evidence", "confidence", "n", "stated", "observed", "error"], rows))
        if "root_classes" in result:
            parts.append(table(["scope: root class", "n"], list(result["root_classes"].items())))
    return "\n".join(parts)
