"""Density matching of a Gaussian mixture against twin critics; knows sizes, no robot."""
