# Data sets of an experiment that get a table and pictures of their own, the first ones of its
# list; all of them stand in the tables and pictures across data sets, and in by_dataset.csv.
IN_DETAIL = 10
# The methods of Figure 3's panels D to J, in the paper's order; the last one also has its own
# latent space drawn.
FIGURE3 = ("gmm", "kmeans", "hierarchical", "hdbscan", "fuzzy_c_means", "louvain", "scvi_leiden")
OWN_SPACE = FIGURE3[-1]
