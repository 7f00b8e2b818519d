"""Whole episodes of the robot's own CPU environment: scores and films."""
