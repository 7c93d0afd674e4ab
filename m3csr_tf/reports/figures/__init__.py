"""The figures of a run or an experiment: each file has functions that draw plain tables as a matplotlib figure."""
