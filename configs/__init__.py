"""Configurations: functions that build a ConfigDict and nothing else."""
