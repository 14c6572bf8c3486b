package main

// behaviours is everything that is asked, in this order; each finds what the ones before it left.
func behaviours() []behaviour {
	var all []behaviour
	for _, part := range [][]behaviour{
		keyValue(), watches(), leases(), clusterAndMaintenance(), locksAndElections(), healthAndUnknown(), calls(), frames(), http1(), etcdctl(), auth(),
	} {
		all = append(all, part...)
	}
	return all
}
