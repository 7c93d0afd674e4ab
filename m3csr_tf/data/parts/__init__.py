"""Reads the files of a table, one module for each file format: parquet and its like, delimited text, JSON lines."""
