"""Files of a table, an encoding a module: parquet and its like, delimited text, JSON lines."""
