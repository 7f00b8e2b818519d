"""Robots as values: what engines, environments, learner and evaluation need to know of one."""
