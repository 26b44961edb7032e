"""Names in features.h5ad, kept apart because a run's code hash covers all that it imports."""

# Layers of values transformed but not scaled, for cytometry, sequencing, and a user's own file
# whose values are taken as they are; a data set has at most one of them.
TRANSFORMED = ("arcsinh", "lognorm", "values")

# In var, if methods see only some genes: those seen; those also seen with prior knowledge.
SELECTED, SIGNATURE = "selected", "signature"
