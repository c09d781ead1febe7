"""Explanations and diagnostics of fitted estimators: functions that methods call."""
