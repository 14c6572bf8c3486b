"""Whether confidence means what it says: stated confidence against the observed share of right edges.

Truth has the grain of one write of a client and its phase. So it finds edges between cascades, not a wrong step within one, and
a rejected candidate of the same cascade is no fault that it could see. The table that compares like with like is
`calibration_roots`: the confidences of all candidates of a change that lead to the same roots, added up.
"""

import collections

# Bins of stated confidence; the last includes 1.
BINS = [0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0]


# Edges below which a bin says little.
ENOUGH = 200


def edge_is_right(edge, rows, measured):
    """Whether cause and effect can belong together by truth; None where truth says nothing.

    Right if every root that the cause may have is one that the effect may have. Truth has the grain of one write of a client and
    its phase, so this finds edges between cascades, not a wrong step within one.
    """
    effect, cause = rows.get(edge.effect), rows.get(edge.cause)
    if effect is None or effect.scope not in measured or not effect.expected:
        return None
    allowed = effect.expected | effect.tolerated
    if cause is None:
        return False
    if cause.scope in ("client", "timer"):
        return cause.id in allowed
    if not cause.expected:
        return None if cause.scope == "request" else False
    return cause.group == effect.group and bool(cause.expected & allowed) or cause.expected <= allowed


class Calibration:
    """Stated confidence against observed share of right edges, in bins."""

    def __init__(self):
        self.bins = collections.defaultdict(lambda: [0, 0.0, 0])
        self._all = []

    def add(self, confidence, right):
        """Counts one edge."""
        if confidence != confidence:
            return
        bin_index = max(index for index, low in enumerate(BINS) if confidence >= low)
        entry = self.bins[min(bin_index, len(BINS) - 1)]
        entry[0] += 1
        entry[1] += confidence
        entry[2] += right
        self._all.append((confidence, right))

    def table(self):
        """Rows of bin, n, stated, observed, error."""
        result = []
        for index, (count, stated, right) in sorted(self.bins.items()):
            high = BINS[index + 1] if index + 1 < len(BINS) else None
            result.append(
                {
                    "bin": f"{BINS[index]:g} to {high:g}" if high else "1",
                    "n": count,
                    "stated": round(stated / count, 4),
                    "observed": round(right / count, 4),
                    "error": round(stated / count - right / count, 4),
                }
            )
        return result


    def large_bins(self):
        """Like `table`, with as many bins as there can be of at least ENOUGH edges; edges of one confidence are in one bin."""
        result, current = [], []
        by_confidence = collections.defaultdict(list)
        for confidence, right in self._all:
            by_confidence[confidence].append(right)
        groups = sorted(by_confidence.items())
        for index, (confidence, rights) in enumerate(groups):
            current += [(confidence, right) for right in rights]
            left = sum(len(others) for _, others in groups[index + 1 :])
            if (len(current) >= ENOUGH and left >= ENOUGH) or not left:
                stated = sum(confidence for confidence, _ in current) / len(current)
                observed = sum(right for _, right in current) / len(current)
                result.append(
                    {
                        "bin": f"{current[0][0]:g} to {confidence:g}",
                        "n": len(current),
                        "stated": round(stated, 4),
                        "observed": round(observed, 4),
                        "error": round(stated - observed, 4),
                    }
                )
                current = []
        return result


def tables(rows, edges, roots, measured):
    """Tables for chosen edges, for all candidates, for the chosen ones by evidence, and for roots (see above)."""
    by_id = {row.id: row for row in rows}
    chosen, candidates, in_roots = Calibration(), Calibration(), Calibration()
    by_evidence, by_effect = collections.defaultdict(Calibration), collections.defaultdict(list)
    for edge in edges:
        right = edge_is_right(edge, by_id, measured)
        if right is None:
            continue
        by_effect[edge.effect].append((edge, right))
        candidates.add(edge.confidence, right)
        if edge.chosen:
            chosen.add(edge.confidence, right)
            by_evidence[edge.evidence].add(edge.confidence, right)
    for effect, judged in by_effect.items():
        main, right = max(judged, key=lambda pair: (pair[0].chosen, pair[0].confidence))
        if main.chosen:
            stated = sum(
                edge.confidence for edge, _ in judged if roots.get(edge.cause, frozenset([edge.cause])) <= roots[effect]
            )
            in_roots.add(min(stated, 1.0), right)
    return {
        "calibration_chosen": chosen.table(),
        "calibration_roots": in_roots.table(),
        "calibration_all": candidates.table(),
        "calibration_by_evidence": {
            evidence: calibration.table() for evidence, calibration in sorted(by_evidence.items())
        },
    }
