# Number of an experiment's data sets, the first in its list, that get a table and figures of their
# own; all of them are in the tables and figures across data sets and in by_dataset.csv.
IN_DETAIL = 10
# The methods of Figure 3's panels D to J, in the paper's order; for the last one its own
# latent space is drawn too.
FIGURE3 = ("gmm", "kmeans", "hierarchical", "hdbscan", "fuzzy_c_means", "louvain", "scvi_leiden")
OWN_SPACE = FIGURE3[-1]
