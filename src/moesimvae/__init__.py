"""MoE-Sim-VAE (Kopf et al. 2021) and a benchmark of clustering methods around it.

The estimator and `cluster` are imported on first use, so that `import moesimvae` stays quick.
"""

__version__ = "0.1.0"
__all__ = ["MoESimVAE", "UserError", "cluster"]


def __getattr__(name: str):
    if name == "MoESimVAE":
        from moesimvae.model.estimator import MoESimVAE

        return MoESimVAE
    if name == "cluster":
        from moesimvae.scverse import cluster

        return cluster
    if name == "UserError":
        from moesimvae.errors import UserError

        return UserError
    raise AttributeError(f"module 'moesimvae' has no attribute {name!r}")
