"""The simulated night: run it, watch it, judge it against the simulator's truth."""
