"""Named settings of MoESimVAE: the paper's, the released program's, and our best.

docs/model.md says, equation by equation, what each does.
"""

from typing import Any

# What is not named here is as in `MoESimVAE`, whose defaults are our best without labels.
PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # Eq 1–11, S = UMAP and the nearest neighbours in the batch, dense layers, no augmentation.
    "paper": {
        "similarity": "umap_knn",
        "encoder": "dense",
        "augmentation": 0.0,
        "deskew": False,
        "experts_every": 1,
        "refinements": 0,
        "encoder_layers": (512, 512),
        "expert_layers": (256,),
        "batch_size": 512,
        "reconstruction_weight": 1.0,
        "steps": 2500,
        "observation": "none",
        "code_components": 1,
    },
    # The mouse-organ program, with the settings of its README and of its argument parser.
    "released": {
        "objective": "released",
        "similarity": "umap_knn",
        "encoder": "dense",
        "augmentation": 0.0,
        "deskew": False,
        "experts_every": 1,
        "refinements": 0,
        "n_latent": 20,
        "encoder_layers": (100,),
        "expert_layers": (100,),
        "gate_layers": (100,),
        "activation": "elu",
        "scale": "minmax",
        "standardise": False,
        "steps": 20000,
        "batch_size": 256,
        "learning_rate": 1e-3,
        "adam_betas": (0.9, 0.99),
        "schedule": "constant",
        "reconstruction_weight": 1.0,
        "kl_weight": 0.2,
        "similarity_weight": 0.8,
        "depict_weight": 0.8,
        "warm_up": 0.0,
        "observation": "none",
        "code_components": 1,
    },
}
