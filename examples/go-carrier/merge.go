package cpid

import "sort"

// Mergelog says that a CPID was made, and from which sources. Post it to the trace server.
type Mergelog struct {
	NewCPID     string
	SourceCPIDs []string
}

// Merge returns what an object carries that is written because of others, and whether it carries a CPID. The mergelog
// is nil if the CPID of a source is used again: there is one source only, or one that has all others among its
// ancestors. At most keepAncestors ancestors are kept. Invalid sources are left out.
//
// The result depends on the set of sources alone, a new CPID excepted, which is random.
func Merge(sources []Context, keepAncestors int) (Context, bool, *Mergelog) {
	family := newFamily(sources)
	switch len(family.distinct) {
	case 0:
		return Context{}, false, nil
	case 1:
		return family.distinct[0], true, nil
	}
	roots := family.roots()
	ancestors := family.byDistance(roots)
	if len(roots) == 1 {
		return Context{CPID: roots[0], Ancestors: cut(ancestors[1:], keepAncestors)}, true, nil
	}
	merged := Context{CPID: newCPID(), Ancestors: cut(ancestors, keepAncestors)}
	return merged, true, &Mergelog{NewCPID: merged.CPID, SourceCPIDs: roots}
}

func cut(cpids []string, keep int) []string {
	return cpids[:min(max(keep, 0), len(cpids))]
}

// family holds valid sources, each once, and for each CPID every list of ancestors that was given for it.
type family struct {
	distinct []Context
	cpids    []string
	lists    map[string][][]string
}

func newFamily(sources []Context) family {
	family := family{lists: map[string][][]string{}}
	for _, source := range sources {
		if source.Validate() != nil || family.has(source) {
			continue
		}
		if _, known := family.lists[source.CPID]; !known {
			family.cpids = append(family.cpids, source.CPID)
		}
		family.distinct = append(family.distinct, source)
		family.lists[source.CPID] = append(family.lists[source.CPID], source.Ancestors)
	}
	sort.Strings(family.cpids)
	return family
}

func (f family) has(context Context) bool {
	for _, list := range f.lists[context.CPID] {
		if equal(list, context.Ancestors) {
			return true
		}
	}
	return false
}

func equal(left, right []string) bool {
	if len(left) != len(right) {
		return false
	}
	for i := range left {
		if left[i] != right[i] {
			return false
		}
	}
	return true
}

// roots returns the sources that are no ancestor of another one, in ascending order. Sources that claim to be ancestors
// of each other, which cannot come of this rule, are all roots, and so is what only they have among their ancestors.
func (f family) roots() []string {
	claimed := map[string]bool{}
	for _, lists := range f.lists {
		for _, list := range lists {
			for _, ancestor := range list {
				claimed[ancestor] = true
			}
		}
	}
	var newest []string
	for _, cpid := range f.cpids {
		if !claimed[cpid] {
			newest = append(newest, cpid)
		}
	}
	reached := map[string]bool{}
	for _, cpid := range f.byDistance(newest) {
		reached[cpid] = true
	}
	var roots []string
	for _, cpid := range f.cpids {
		if !claimed[cpid] || !reached[cpid] {
			roots = append(roots, cpid)
		}
	}
	return roots
}

// byDistance returns roots and all their ancestors, by distance from the nearest root, then by text. The first of a
// list of ancestors is at distance 1 from its CPID, the second at distance 2, and so on.
func (f family) byDistance(roots []string) []string {
	distances := map[string]int{}
	queue := append([]string(nil), roots...)
	for _, root := range roots {
		distances[root] = 0
	}
	// Each turn shortens a way, so this ends; there are few sources, and ways over several of them are rare.
	for len(queue) > 0 {
		cpid := queue[0]
		queue = queue[1:]
		for _, list := range f.lists[cpid] {
			for position, ancestor := range list {
				distance := distances[cpid] + position + 1
				if known, found := distances[ancestor]; !found || distance < known {
					distances[ancestor] = distance
					queue = append(queue, ancestor)
				}
			}
		}
	}
	order := make([]string, 0, len(distances))
	for cpid := range distances {
		order = append(order, cpid)
	}
	sort.Slice(order, func(i, j int) bool {
		left, right := order[i], order[j]
		if distances[left] != distances[right] {
			return distances[left] < distances[right]
		}
		return left < right
	})
	return order
}
