"""What nonet's models make of the inputs of tests/oracle/transformers_models.py."""

from __future__ import annotations

import numpy as np

from nonet import models
from nonet.models import Sampling

BEAMS = {
    "greedy": {"beams": 1},
    "beams": {"beams": 4},
    "short beams": {"beams": 3, "length_penalty": 0.6},
    "long beams": {"beams": 4, "length_penalty": 2.0, "early_stopping": True},
}


def results(model, x, wanted) -> dict[str, np.ndarray]:
    out = {}
    if isinstance(model, models.GPT):
        out["logits"] = model(x["whole"]).detach().numpy()
        for key, penalty in (("greedy", 1.0), ("penalised", 1.7)):
            how = Sampling(temperature=0.0, repetition_penalty=penalty)
            out[key] = model.generate(x["whole"], 20, how)
    elif isinstance(model, models.BERT):
        out["logits"] = model(x["ids"], types=x["types"]).detach().numpy()
    else:
        out["logits"] = model(x["ids"], x["target"]).detach().numpy()
        for key, options in BEAMS.items():
            if key in wanted:
                out[key] = model.generate(x["ids"], 12, **options)
    return out
