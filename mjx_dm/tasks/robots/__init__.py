"""One module a family of robots; each names its tasks in TASKS."""
