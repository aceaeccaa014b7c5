"""The Orchestration Manager: leases jobs to workers, renews, ends and grants again."""
