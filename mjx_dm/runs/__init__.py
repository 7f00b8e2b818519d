"""The host loop: launches the program, logs, saves, scores and stops when told."""
