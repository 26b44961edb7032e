# Data sets of an experiment that get a table and pictures of their own, the first ones of its
# list; all of them stand in the tables and pictures across data sets, and in by_dataset.csv.
IN_DETAIL = 8
