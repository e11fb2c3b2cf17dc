"""From what is in the cluster to the benchmark's status. Pure: the same observation always gives the same status."""
