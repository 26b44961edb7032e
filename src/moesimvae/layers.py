"""Names in features.h5ad, apart from all else: what runs import is part of their code's hash."""

# Layers of values transformed but not scaled, of cytometry, of sequencing, and of a user's own file
# whose values are taken as they are; a data set has one of them at most.
TRANSFORMED = ("arcsinh", "lognorm", "values")

# In var, of more genes than methods see: those that they do. And, with prior knowledge, besides.
SELECTED, SIGNATURE = "selected", "signature"
