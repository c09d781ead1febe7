"""Fitted estimators in files of arrays and JSON."""
